//! The profiles that ship with the program: files of `config/profiles`, compiled in.

/// A profile that ships with the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BuiltinProfile {
    /// The default: neutral words, nothing refused for a licensing reason alone.
    Open,
    /// A SIP proxy licensed by calls per second.
    Cusp,
    /// The same, with an evaluation that also runs while registered but not authorized.
    Cccsp,
    /// A call controller licensed by concurrent calls and registrations, under export control.
    Expressway,
    /// A contact center licensed by agents, with a premium tier that covers the standard one.
    Ccx,
    /// A router licensed by the capacity of its ports.
    Ncs540,
}

impl BuiltinProfile {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Open, Self::Cusp, Self::Cccsp, Self::Expressway, Self::Ccx, Self::Ncs540];

    /// The name that `[license] profile` takes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Cusp => "cusp",
            Self::Cccsp => "cccsp",
            Self::Expressway => "expressway",
            Self::Ccx => "ccx",
            Self::Ncs540 => "ncs540",
        }
    }

    /// The profile of this name, or `None`: then it is the path of a file.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.name() == name)
    }

    /// Its text.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Open => include_str!("../../../config/profiles/open.toml"),
            Self::Cusp => include_str!("../../../config/profiles/cusp.toml"),
            Self::Cccsp => include_str!("../../../config/profiles/cccsp.toml"),
            Self::Expressway => include_str!("../../../config/profiles/expressway.toml"),
            Self::Ccx => include_str!("../../../config/profiles/ccx.toml"),
            Self::Ncs540 => include_str!("../../../config/profiles/ncs540.toml"),
        }
    }
}
