//! How many places each address holds, so that no single one takes what is meant for all.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The places that addresses hold: of each, so many at most. As many entries as places that are held.
#[derive(Debug)]
pub(crate) struct Places {
    most: usize,
    held: Mutex<HashMap<IpAddr, usize>>,
}

/// One place; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    of: IpAddr,
}

impl Places {
    /// Each address may hold this many.
    pub(crate) fn new(most: usize) -> Arc<Places> {
        Arc::new(Places {
            most,
            held: Mutex::default(),
        })
    }

    /// A place for `address`; `None` when it holds all that it may.
    pub(crate) fn take(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let of = one_party(address);
        let mut held = self.lock();
        let count = held.entry(of).or_insert(0);
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Place {
            places: self.clone(),
            of,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.places.lock();
        if let Some(count) = held.get_mut(&self.of) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.of);
            }
        }
    }
}

/// What counts as one address: whoever has one of IPv6 has its whole /64.
fn one_party(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from(network))
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn an_address_holds_so_many_and_no_other_address_less_for_it() {
        let places = Places::new(2);
        let take = |address: &str| places.take(address.parse().unwrap());
        let first = take("192.0.2.1").unwrap();
        let _second = take("::ffff:192.0.2.1").unwrap();
        assert!(take("192.0.2.1").is_none());
        assert!(take("192.0.2.2").is_some());
        drop(first);
        assert!(take("192.0.2.1").is_some());
    }

    #[test]
    fn a_network_of_ipv6_is_one_party() {
        let places = Places::new(1);
        let take = |address: &str| places.take(address.parse().unwrap());
        let _held = take("2001:db8:0:1::1").unwrap();
        assert!(take("2001:db8:0:1:ffff::2").is_none());
        assert!(take("2001:db8:0:2::1").is_some());
    }

    #[test]
    fn nothing_is_remembered_of_who_holds_nothing() {
        let places = Places::new(1);
        let held = places.take("192.0.2.1".parse().unwrap());
        assert!(places.take("192.0.2.1".parse().unwrap()).is_none());
        drop(held);
        assert!(places.lock().is_empty());
    }
}
