//! How many tasks and objects the server remembers at the most: a frame of a hundred bytes can ask for millions.

use rain_protocol::client::RequestError;

/// Items are counted anew when so many may have been added.
const COUNT_AGAIN: u64 = 1 << 16;

/// The budget of all clients.
#[derive(Debug)]
pub(super) struct Budget {
    /// Tasks and objects in all.
    pub(super) items_max: u64,
    /// What may have been added since they were counted.
    uncounted: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self { items_max: u64::MAX, uncounted: 0 }
    }
}

impl Budget {
    /// Refuses a submit that would add so many tasks, and at most so many objects, when there is no room for them. `count` gives how many
    /// there are: of all clients, and of the one that submits.
    pub(super) fn check(&mut self, added: u64, count: impl FnOnce() -> (u64, u64)) -> Result<(), RequestError> {
        let uncounted = self.uncounted.saturating_add(added);
        if uncounted < COUNT_AGAIN {
            self.uncounted = uncounted;
            return Ok(());
        }
        let (all, of_client) = count();
        let checked = [(all, self.items_max, "all clients"), (of_client, self.items_max / 2, "one client")];
        for (has, max, whose) in checked {
            let has = has.saturating_add(added);
            if has > max {
                return Err(RequestError::request(format!(
                    "submit refused: {has} tasks and objects of {whose} would have to be remembered, more than the {max} that this \
                     server's memory allows: forget some or close sessions"
                )));
            }
        }
        self.uncounted = added.min(COUNT_AGAIN / 2);
        Ok(())
    }
}
