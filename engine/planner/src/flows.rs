//! Transfers that share links: max-min fair, each governor's link as fast to send as to receive.

/// A transfer that goes on.
#[derive(Clone, Debug)]
pub struct Flow {
    pub from: u32,
    pub to: u32,
    /// Whatever its owner knows it by.
    pub tag: u32,
    /// Bytes that were left at `since`.
    remaining: f64,
    since: f64,
    rate: f64,
    /// When it ends unless something changes.
    finish: f64,
}

/// One direction of a governor's link while rates are worked out.
#[derive(Clone, Copy, Debug)]
struct Link {
    /// Bytes a second that no flow has yet.
    left: f64,
    /// Flows without a rate yet.
    flows: u32,
}

/// All transfers of a cluster.
#[derive(Clone, Debug)]
pub struct Flows {
    bandwidth: f64,
    going: Vec<Flow>,
    changed: bool,
    /// Sending, then receiving, for each governor.
    links: Vec<Link>,
    open: Vec<u32>,
}

impl Flows {
    pub fn new(governors: usize, bandwidth: f64) -> Self {
        let links = vec![Link { left: bandwidth, flows: 0 }; 2 * governors];
        Self { bandwidth, going: Vec::new(), changed: false, links, open: Vec::new() }
    }

    /// Forgets all transfers.
    pub fn clear(&mut self) {
        self.going.clear();
        self.changed = false;
    }

    /// Begins a transfer at `now`; it moves once rates were shared out.
    pub fn start(&mut self, now: f64, from: u32, to: u32, bytes: f64, tag: u32) {
        self.going.push(Flow { from, to, tag, remaining: bytes, since: now, rate: 0.0, finish: f64::INFINITY });
        self.changed = true;
    }

    /// When the next transfer ends; infinity when none goes on.
    pub fn next_finish(&self) -> f64 {
        self.going.iter().fold(f64::INFINITY, |next, flow| next.min(flow.finish))
    }

    /// Takes out those that have ended at `now`.
    pub fn take_finished(&mut self, now: f64, mut finished: impl FnMut(&Flow)) {
        let before = self.going.len();
        self.going.retain(|flow| {
            let ends = flow.finish <= now;
            if ends {
                finished(flow);
            }
            !ends
        });
        self.changed |= self.going.len() != before;
    }

    /// Shares the links out anew if transfers have begun or ended.
    pub fn share(&mut self, now: f64) {
        if !std::mem::take(&mut self.changed) || self.going.is_empty() {
            return;
        }
        let governors = self.links.len() / 2;
        self.links.fill(Link { left: self.bandwidth, flows: 0 });
        self.open.clear();
        for (number, flow) in self.going.iter().enumerate() {
            self.links[flow.from as usize].flows += 1;
            self.links[governors + flow.to as usize].flows += 1;
            self.open.push(number as u32);
        }
        while !self.open.is_empty() {
            let used = self.links.iter().filter(|link| link.flows > 0);
            let rate = used.map(|link| link.left / f64::from(link.flows)).fold(f64::INFINITY, f64::min);
            // What is nearly as narrow is as narrow: it differs by rounding.
            let narrow = rate * (1.0 + 1e-9);
            let is_narrow = |link: &Link| link.left <= narrow * f64::from(link.flows);
            let mut kept = 0;
            for at in 0..self.open.len() {
                let number = self.open[at];
                let flow = &mut self.going[number as usize];
                let (from, to) = (flow.from as usize, governors + flow.to as usize);
                if is_narrow(&self.links[from]) || is_narrow(&self.links[to]) {
                    for link in [from, to] {
                        self.links[link].left = (self.links[link].left - rate).max(0.0);
                        self.links[link].flows -= 1;
                    }
                    flow.set_rate(now, rate);
                } else {
                    self.open[kept] = number;
                    kept += 1;
                }
            }
            self.open.truncate(kept);
        }
    }
}

impl Flow {
    fn set_rate(&mut self, now: f64, rate: f64) {
        if rate != self.rate {
            self.remaining = (self.remaining - self.rate * (now - self.since)).max(0.0);
            self.since = now;
            self.rate = rate;
            self.finish = now + self.remaining / rate;
        }
    }

    /// Bytes a second.
    pub fn rate(&self) -> f64 {
        self.rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(governors: usize, pairs: &[(u32, u32)]) -> Vec<f64> {
        let mut flows = Flows::new(governors, 12.0);
        for (tag, (from, to)) in pairs.iter().enumerate() {
            flows.start(0.0, *from, *to, 100.0, tag as u32);
        }
        flows.share(0.0);
        flows.going.iter().map(Flow::rate).collect()
    }

    #[test]
    fn links_are_shared_max_min_fairly() {
        assert_eq!(rates(2, &[(0, 1)]), [12.0]);
        assert_eq!(rates(2, &[(0, 1), (1, 0)]), [12.0, 12.0], "full duplex");
        assert_eq!(rates(4, &[(0, 1), (0, 2), (0, 3)]), [4.0, 4.0, 4.0]);
        assert_eq!(rates(4, &[(0, 1), (0, 2), (0, 3), (1, 3)]), [4.0, 4.0, 4.0, 8.0], "what others cannot use");
        assert_eq!(rates(3, &[(0, 1), (0, 1), (2, 1)]), [4.0, 4.0, 4.0], "by transfer, not by pair");
    }

    #[test]
    fn rates_change_when_a_transfer_ends() {
        let mut flows = Flows::new(3, 10.0);
        flows.start(0.0, 0, 1, 10.0, 7);
        flows.start(0.0, 0, 2, 20.0, 8);
        flows.share(0.0);
        assert_eq!(flows.next_finish(), 2.0);
        let mut ended = Vec::new();
        flows.take_finished(2.0, |flow| ended.push(flow.tag));
        flows.share(2.0);
        assert_eq!(ended, [7]);
        assert_eq!(flows.next_finish(), 3.0, "10 bytes were left, and all of the link is free for them");
    }
}
