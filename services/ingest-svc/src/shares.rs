//! A bound that many share: each flow, the traffic of one tenant, may take as much as is free.
//!
//! Invariant: the sum of what is taken stays within the bound; the one exception is a single piece
//! larger than the bound, which is taken when nothing else is.
//! Invariant: `n` flows that take all they can get leave a part of `n + 1` free, whoever they are;
//! so a flood never closes the door to those who ask for little. (The rule is known from switches
//! as dynamic thresholds: Choudhury and Hahne, 1998.)

use rustc_hash::FxHashMap;
use std::ops::{AddAssign, SubAssign};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A number of events and of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) events: usize,
    pub(crate) bytes: usize,
}

impl Size {
    /// So many bytes, of no events yet.
    pub(crate) const fn of_bytes(bytes: usize) -> Self {
        Self { events: 0, bytes }
    }
}

impl AddAssign for Size {
    fn add_assign(&mut self, more: Self) {
        self.events += more.events;
        self.bytes += more.bytes;
    }
}

impl SubAssign for Size {
    fn sub_assign(&mut self, less: Self) {
        self.events -= less.events;
        self.bytes -= less.bytes;
    }
}

/// Whose traffic it is.
pub(crate) type Flow = Arc<str>;

/// The bound. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Shares(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    bound: Size,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: Size,
    flows: FxHashMap<Flow, Size>,
}

impl Shares {
    /// A bound of which nothing is taken.
    pub(crate) fn new(bound: Size) -> Self {
        Self(Arc::new(Inner {
            bound,
            taken: Mutex::default(),
        }))
    }

    /// A part that may grow: nothing yet.
    pub(crate) fn nothing(&self, flow: Flow) -> Share {
        Share {
            shares: self.clone(),
            flow,
            size: Size::default(),
        }
    }

    /// Takes a part, or nothing where the flow has as much as is free.
    pub(crate) fn take(&self, flow: &Flow, size: Size) -> Option<Share> {
        let mut share = self.nothing(Arc::clone(flow));
        share.grow(size).then_some(share)
    }

    /// Whether a flow could take anything at all.
    pub(crate) fn has_room(&self, flow: &str) -> bool {
        let taken = self.lock();
        let of_flow = taken.flows.get(flow).copied().unwrap_or_default();
        self.fits(
            &taken,
            of_flow,
            Size {
                events: 1,
                bytes: 1,
            },
        )
    }

    /// What is taken, and the bound.
    pub(crate) fn level(&self) -> (Size, Size) {
        (self.lock().all, self.0.bound)
    }

    fn fits(&self, taken: &Taken, of_flow: Size, more: Size) -> bool {
        let fits = |all: usize, of_flow: usize, more: usize, bound: usize| {
            more == 0 || all == 0 || of_flow + more <= bound.saturating_sub(all)
        };
        let (all, bound) = (taken.all, self.0.bound);
        fits(all.events, of_flow.events, more.events, bound.events)
            && fits(all.bytes, of_flow.bytes, more.bytes, bound.bytes)
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A part of the bound; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    shares: Shares,
    flow: Flow,
    size: Size,
}

impl Share {
    /// What was taken.
    pub(crate) fn size(&self) -> Size {
        self.size
    }

    /// Whose it is.
    pub(crate) fn flow(&self) -> &Flow {
        &self.flow
    }

    /// Takes more; false, and nothing is, where the flow has as much as is free.
    pub(crate) fn grow(&mut self, more: Size) -> bool {
        let mut taken = self.shares.lock();
        let of_flow = taken.flows.get(&self.flow).copied().unwrap_or_default();
        if !self.shares.fits(&taken, of_flow, more) {
            return false;
        }
        taken.all += more;
        *taken.flows.entry(Arc::clone(&self.flow)).or_default() += more;
        self.size += more;
        true
    }

    /// Cuts a part off, which is given back on its own.
    pub(crate) fn split(&mut self, part: Size) -> Self {
        self.size -= part;
        Self {
            shares: self.shares.clone(),
            flow: Arc::clone(&self.flow),
            size: part,
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if self.size == Size::default() {
            return;
        }
        let mut taken = self.shares.lock();
        taken.all -= self.size;
        if let Some(of_flow) = taken.flows.get_mut(&self.flow) {
            *of_flow -= self.size;
            if *of_flow == Size::default() {
                taken.flows.remove(&self.flow);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(events: usize) -> Size {
        Size { events, bytes: 0 }
    }

    fn shares(bound: usize) -> Shares {
        Shares::new(Size {
            events: bound,
            bytes: 1_000,
        })
    }

    #[test]
    fn what_does_not_fit_is_refused_and_room_comes_back() {
        let (shares, flow) = (shares(10), Flow::from("a"));
        let first = shares
            .take(
                &flow,
                Size {
                    events: 4,
                    bytes: 10,
                },
            )
            .unwrap();
        assert!(shares.take(&flow, events(4)).is_none(), "events");
        assert!(shares.take(&flow, Size::of_bytes(990)).is_none(), "bytes");
        let mut second = shares.take(&flow, events(1)).unwrap();
        let part = second.split(events(1));
        drop((first, second, part));
        assert_eq!(shares.level().0, Size::default());
        assert!(shares.0.taken.lock().unwrap().flows.is_empty());
        let larger = events(50);
        assert!(
            shares.take(&flow, larger).is_some(),
            "larger than the bound, alone"
        );
    }

    #[test]
    fn floods_leave_room_for_whoever_asks_for_little() {
        let shares = shares(1_000);
        let mut held = Vec::new();
        for name in ["flood", "another", "third"] {
            let flow = Flow::from(name);
            while let Some(share) = shares.take(&flow, events(1)) {
                held.push(share);
            }
            assert!(!shares.has_room(name));
        }
        let (taken, _) = shares.level();
        assert!(taken.events <= 900, "{taken:?}");
        let quiet = Flow::from("quiet");
        assert!(shares.has_room("quiet"));
        assert!(shares.take(&quiet, events(50)).is_some());
    }

    #[test]
    fn a_share_that_grows_is_bounded_like_a_new_one() {
        let (shares, flow) = (shares(10), Flow::from("a"));
        let mut share = shares.take(&flow, Size::of_bytes(400)).unwrap();
        assert!(share.grow(Size::of_bytes(100)));
        assert!(!share.grow(Size::of_bytes(101)));
        assert_eq!(share.size(), Size::of_bytes(500));
    }
}
