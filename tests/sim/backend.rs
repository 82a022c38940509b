//! The licensing backend: what it granted to whom, and what it may give to others.

/// What a node was granted of a resource.
#[derive(Debug, Clone, Copy)]
pub struct Granted {
    pub epoch: u64,
    /// By the newest grant.
    pub count: u32,
    /// What the node may still use by any grant that it didn't give up.
    pub account: u32,
    /// A smaller grant is under way: what it frees goes to that node.
    pub moving_to: Option<usize>,
    /// Comes on top when that is done: one change of a count at a time.
    pub owed: u32,
}

/// All grants, by node and resource.
#[derive(Debug, Clone)]
pub struct Backend(pub Vec<Vec<Granted>>);

impl Backend {
    pub fn new(homes: &[Vec<u32>]) -> Self {
        let granted = |count: &u32| Granted { epoch: 1, count: *count, account: *count, moving_to: None, owed: 0 };
        Self(homes.iter().map(|of| of.iter().map(granted).collect()).collect())
    }

    /// Begins to move licenses. `false` if something of that node is on the move already, or nothing is there.
    pub fn begin_move(&mut self, of: usize, from: usize, to: usize, licenses: u32) -> bool {
        let granted = &mut self.0[from][of];
        let licenses = licenses.min(granted.count);
        if granted.moving_to.is_some() || licenses == 0 {
            return false;
        }
        granted.epoch += 1;
        granted.count -= licenses;
        granted.moving_to = Some(to);
        true
    }

    /// A node gave up what a smaller grant left out. Says who gets a new grant.
    pub fn acknowledged(&mut self, of: usize, from: usize, epoch: u64) -> Vec<usize> {
        let granted = &mut self.0[from][of];
        if granted.epoch != epoch {
            return Vec::new();
        }
        let Some(to) = granted.moving_to.take() else { return Vec::new() };
        let freed = granted.account - granted.count;
        granted.account = granted.count;
        self.0[to][of].owed += freed;
        let mut raised = Vec::new();
        for node in [from, to] {
            let granted = &mut self.0[node][of];
            if granted.moving_to.is_none() && granted.owed > 0 {
                let more = std::mem::take(&mut granted.owed);
                granted.epoch += 1;
                granted.count += more;
                granted.account += more;
                raised.push(node);
            }
        }
        raised
    }

    /// What all may use together, in licenses.
    pub fn bought(&self, of: usize) -> u32 {
        self.0.iter().map(|granted| granted[of].account).sum()
    }
}
