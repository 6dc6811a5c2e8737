//! Who stands where: addresses that are one asker's, and which of many holders gives up a place.
//!
//! Whoever has one IPv6 address has a whole /64 of them, and one tenant often has a whole /24 or /48. A listener that
//! has no place left takes it from where most are held, the oldest first: a newcomer from elsewhere gets in, however
//! many one place holds. Pure.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whoever has one IPv6 address has a whole /64 of them.
pub fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

/// The network that one tenant often has many addresses in: a /24, or a /48.
pub fn district(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & !0xff)),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 80 << 80)),
    }
}

/// The place that most of the holders stand in, with its oldest holder and how many they are. Holders have ascending
/// numbers; of places with as many the one with the oldest holder.
pub fn fullest(held: impl Iterator<Item = (u64, IpAddr)>) -> Option<(u64, IpAddr, usize)> {
    let mut places: HashMap<IpAddr, (u64, usize)> = HashMap::new();
    for (number, place) in held {
        let (oldest, many) = places.entry(place).or_insert((number, 0));
        *oldest = number.min(*oldest);
        *many = many.saturating_add(1);
    }
    let most = places.into_iter().max_by_key(|(_, (oldest, many))| (*many, Reverse(*oldest)));
    most.map(|(place, (oldest, many))| (oldest, place, many))
}

/// Who gives up a place: the oldest holder of the fullest neighbourhood of the fullest district.
pub fn gives_way(held: impl Iterator<Item = (u64, IpAddr)> + Clone) -> Option<u64> {
    let (_, full, _) = fullest(held.clone().map(|(number, address)| (number, district(address))))?;
    let there = held.filter(|(_, address)| district(*address) == full);
    fullest(there.map(|(number, address)| (number, neighbourhood(address)))).map(|(oldest, ..)| oldest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_stands_in_its_neighbourhood_and_its_district() {
        for (address, near, around) in [
            ("192.0.2.7", "192.0.2.7", "192.0.2.0"),
            ("::ffff:192.0.2.7", "192.0.2.7", "192.0.2.0"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::", "2001:db8:1::"),
        ] {
            assert_eq!((neighbourhood(at(address)), district(at(address))), (at(near), at(around)));
        }
    }

    #[test]
    fn the_oldest_of_the_most_crowded_place_gives_way() {
        let held = |addresses: &[&str]| -> Vec<(u64, IpAddr)> {
            (0..).zip(addresses.iter().map(|address| at(address))).collect()
        };
        let who = |addresses: &[&str]| gives_way(held(addresses).into_iter());
        assert_eq!(who(&[]), None);
        assert_eq!(who(&["192.0.2.1", "198.51.100.1", "203.0.113.1"]), Some(0));
        assert_eq!(who(&["192.0.2.1", "198.51.100.1", "198.51.100.2"]), Some(1));
        assert_eq!(who(&["192.0.2.1", "198.51.100.1", "198.51.100.2", "198.51.100.2"]), Some(2));
        assert_eq!(
            fullest(held(&["192.0.2.1", "192.0.2.1", "198.51.100.1"]).into_iter()),
            Some((0, at("192.0.2.1"), 2))
        );
    }
}
