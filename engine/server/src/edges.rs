//! Who waits for which object.

use rain_model::id::{NONE, TaskIndex};

/// Lists of consumers: each edge is a consumer and the next edge. Edges of lists that were gone through are used again.
#[derive(Debug)]
pub(super) struct Edges {
    all: Vec<(TaskIndex, u32)>,
    free: u32,
}

impl Default for Edges {
    fn default() -> Self {
        Self { all: Vec::new(), free: NONE }
    }
}

impl Edges {
    /// Puts a consumer at the head of a list.
    pub(super) fn push(&mut self, list: &mut u32, consumer: TaskIndex) {
        let edge = (consumer, *list);
        *list = match self.free {
            NONE => {
                if self.all.len() == self.all.capacity() {
                    // Less than `Vec` takes at once: there may be one for each input of a large graph.
                    self.all.reserve_exact(self.all.len() / 8 + 64);
                }
                self.all.push(edge);
                self.all.len() as u32 - 1
            }
            free => {
                self.free = std::mem::replace(&mut self.all[free as usize], edge).1;
                free
            }
        };
    }

    /// Takes the head of a list off; `None` when there is none.
    pub(super) fn pop(&mut self, list: &mut u32) -> Option<TaskIndex> {
        let edge = self.all.get_mut(*list as usize)?;
        let consumer = edge.0;
        let taken = std::mem::replace(list, edge.1);
        edge.1 = std::mem::replace(&mut self.free, taken);
        Some(consumer)
    }

    /// The consumers of a list.
    pub(super) fn iter(&self, list: u32) -> impl Iterator<Item = TaskIndex> {
        let edge = |place: u32| self.all.get(place as usize);
        std::iter::successors(edge(list), move |(_, next)| edge(*next)).map(|(consumer, _)| *consumer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_of_lists_that_were_gone_through_are_used_again() {
        let mut edges = Edges::default();
        for round in 0..100 {
            let (mut one, mut other) = (NONE, NONE);
            for consumer in 0..10 {
                edges.push(&mut one, round + consumer);
                edges.push(&mut other, round + 100 + consumer);
            }
            assert!(edges.iter(one).eq((round..round + 10).rev()));
            let popped: Vec<TaskIndex> = std::iter::from_fn(|| edges.pop(&mut one)).collect();
            assert!(popped.into_iter().eq((round..round + 10).rev()));
            assert_eq!((one, edges.iter(other).count()), (NONE, 10));
            while edges.pop(&mut other).is_some() {}
        }
        assert_eq!(edges.all.len(), 20);
    }
}
