//! From the configuration to what the agent and the transport are told.

use std::sync::Arc;

use super::transport::{Proxy, Settings, Trust, parse_pin};
use crate::license::agent::{Addresses, Requested, Setup, TransportClass};
use crate::license::ports::{DailyCount, Port};
use crate::license::{CountSource, TierSpec, TypeUnit};
use crate::shell::config::{Config, Secrets, TrustChoice};

/// Who this is, beside the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// The host's name.
    pub name: String,
    /// A keyed hash of the machine's identity.
    pub fingerprint: String,
}

/// What the agent is told. `count` is today's count of the configured ports.
#[must_use]
pub fn agent_setup(config: &Config, host: &Host, count: Option<&DailyCount>) -> Setup {
    let license = &config.license;
    Setup {
        profile: Arc::clone(&config.profile),
        enabled: Some(license.enabled),
        usage: license.usage,
        requested: requested(config, count),
        export_control: config.profile.hard_cap.enabled && config.admission.export_control.enabled,
        overage_allowed: license.overage,
        overage_of: license.types.iter().filter_map(|(name, of)| Some((name.clone(), of.overage?))).collect(),
        transport: license.transport,
        addresses: Addresses { url: license.url.clone(), proxy: license.proxy.clone() },
        hostname: host.name.clone(),
        withhold_hostname: !license.share_hostname,
        renew_on_hostname_change: license.hostname_auto_renew,
        retry_jitter: license.retry_jitter,
        trusted_root: license.root_key.as_ref().and_then(|key| serde_json::from_value(key.as_str().into()).ok()),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        fingerprint: host.fingerprint.clone(),
    }
}

/// The rate, if the product licenses it; the session types, the operator's own too; the capacity of ports.
fn requested(config: &Config, count: Option<&DailyCount>) -> Vec<Requested> {
    let profile = &config.profile;
    let one = |name: &str, units: Option<u32>, per_license: u32| Requested {
        type_name: name.to_owned(),
        tag: profile.tag(name, config.license.usage),
        units,
        per_license,
        tier: None,
    };
    let rate = profile
        .rate_type()
        .map(|licensed| one(&licensed.name, Some(config.license.count.rate().get()), licensed.per_license));
    // A product that sells no sessions still counts them here; no manager is asked for what it doesn't know.
    let licensed = |name: &str| profile.type_named(name).is_some() || config.license.types.contains_key(name);
    let sessions = config.policy().license_types.into_iter().filter(|of| licensed(&of.name)).map(|of| {
        let per_license = profile.type_named(&of.name).map_or(1, |licensed| licensed.per_license);
        let tier = of.tier.map(|tier| TierSpec { family: tier.family, rank: tier.rank });
        Requested { tier, ..one(&of.name, of.count, per_license) }
    });
    let capacity = profile.types.iter().filter(|of| of.unit == TypeUnit::Capacity).filter_map(|licensed| {
        let units = match licensed.counts {
            CountSource::Admission => None,
            source @ (CountSource::ActivePorts | CountSource::AdvancedPorts | CountSource::Systems) => {
                count.and_then(|count| count.counts.from_source(source))
            }
        };
        units.map(|units| one(&licensed.name, Some(units), licensed.per_license))
    });
    rate.into_iter().chain(sessions).chain(capacity).collect()
}

/// The configured ports.
#[must_use]
pub fn ports(config: &Config) -> Vec<Port> {
    let features = |text: &str| -> Vec<String> {
        text.split(',').map(str::trim).filter(|feature| !feature.is_empty()).map(str::to_owned).collect()
    };
    let port = |(name, of): (&String, &crate::shell::config::Port)| Port {
        name: name.clone(),
        gbps: of.gbps,
        features: of.features.as_deref().map(features).unwrap_or_default(),
        active: of.active,
        card: of.card.clone(),
    };
    config.license.ports.iter().map(port).collect()
}

/// The way to the manager: the one in force, which the agent names, with what the configuration says beside it.
#[must_use]
pub fn transport_settings(
    config: &Config,
    secrets: &Secrets,
    (class, addresses): (TransportClass, &Addresses),
) -> Settings {
    let license = &config.license;
    // Every text here was checked with the configuration; a file that is missing was too.
    let file = || license.ca_file.clone().unwrap_or_default();
    let proxy = addresses.proxy.as_ref().filter(|_| class == TransportClass::Proxy);
    Settings {
        url: addresses.url.as_ref().and_then(|url| url.parse().ok()),
        trust: match license.trust {
            TrustChoice::System => Trust::System,
            TrustChoice::File => Trust::File(file()),
            TrustChoice::SystemAndFile => Trust::SystemAndFile(file()),
            TrustChoice::PinSpki => {
                Trust::PinSpki(license.pin_spki.iter().flat_map(|pins| pins.split(',')).filter_map(parse_pin).collect())
            }
        },
        proxy: proxy.and_then(|proxy| proxy.parse().ok()).map(|address| Proxy {
            address,
            user: license.proxy_user.clone().zip(secrets.proxy_password.clone()),
            ca_file: license.proxy_ca_file.clone(),
        }),
        timeout: license.timeout.duration(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::license::agent::UsageClass;
    use crate::shell::config::{Inputs, Loaded, Loader};

    fn load(text: &str) -> Loaded {
        let inputs =
            Inputs { environment: [("HOME".to_owned(), "/nowhere".to_owned())].into(), host_name: "h".to_owned() };
        Loader { inputs, ..Loader::default() }.load_text(Path::new("callgate.toml"), text).unwrap()
    }

    fn host() -> Host {
        Host { name: "h".to_owned(), fingerprint: "f".to_owned() }
    }

    fn settings_of(loaded: &Loaded) -> Settings {
        let setup = agent_setup(&loaded.config, &host(), None);
        transport_settings(&loaded.config, &loaded.secrets, (setup.transport, &setup.addresses))
    }

    fn asked(text: &str, count: Option<&DailyCount>) -> Vec<(String, Option<u32>, u32)> {
        let setup = agent_setup(&load(text).config, &host(), count);
        setup.requested.into_iter().map(|of| (of.tag, of.units, of.per_license)).collect()
    }

    #[test]
    fn the_rate_and_every_session_type_are_asked_for_under_their_tags() {
        let own = "[license]\ncount = 100\nsessions = 500\n[license.types.premium]\ncount = 10\n";
        let expected = |suffix: &str| {
            vec![
                (format!("open.cps{suffix}"), Some(100), 5),
                (format!("open.session{suffix}"), Some(500), 1),
                (format!("open.premium{suffix}"), Some(10), 1),
            ]
        };
        assert_eq!(asked(own, None), expected(""));
        assert_eq!(asked(&own.replacen("[license]\n", "[license]\nusage = 'lab'\n", 1), None), expected(".lab"));
        assert_eq!(agent_setup(&load(own).config, &host(), None).usage, UsageClass::Production);
    }

    #[test]
    fn the_entitlement_that_lifts_export_control_is_wanted_where_the_products_limit_applies() {
        let wanted = |text: &str| agent_setup(&load(text).config, &host(), None).export_control;
        assert!(wanted("[license]\nprofile = 'expressway'\n"));
        assert!(!wanted("[license]\n"), "this product has no limit to lift");
    }

    #[test]
    fn capacity_is_asked_for_as_it_was_counted_today() {
        let text = "[license]\nprofile = 'ncs540'\n[license.ports.a]\ngbps = 100\nfeatures = 'l3vpn, '\n\
                    [license.ports.b]\n[license.ports.c]\nactive = false\n";
        let ports = ports(&load(text).config);
        assert_eq!(
            ports.iter().map(|port| (port.gbps, port.features.len())).collect::<Vec<_>>(),
            [(100, 1), (10, 0), (10, 0)]
        );
        let mut count = None;
        assert!(DailyCount::refresh(&mut count, &ports, crate::units::UnixMillis(0)));
        let asked = asked(text, count.as_ref());
        let units: Vec<_> = asked.iter().map(|of| of.1).collect();
        assert_eq!(
            units,
            [Some(11), Some(10), Some(1)],
            "sessions, which the product doesn't sell, are not asked for: {asked:?}"
        );
    }

    #[test]
    fn the_proxy_is_used_only_where_the_way_goes_through_it_and_its_password_is_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("password");
        std::fs::write(&file, "hunter2").unwrap();
        let text = format!(
            "[license]\nurl = 'https://lm'\nproxy = 'proxy:3128'\nproxy_user = 'op'\nproxy_password_file = '{}'\n",
            file.display()
        );
        let direct = load(&text);
        assert!(settings_of(&direct).proxy.is_none());
        let through = load(&format!("{text}transport = 'proxy'\n"));
        let settings = settings_of(&through);
        assert_eq!(settings.proxy.as_ref().unwrap().address.to_string(), "http://proxy:3128");
        assert!(settings.proxy.as_ref().unwrap().user.is_some() && !format!("{settings:?}").contains("hunter2"));
    }
}
