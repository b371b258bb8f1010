//! Kinds of IP addresses.

use std::net::IpAddr;

/// Whether an address is public: not loopback, private, or of a special-purpose network (RFC 6890).
pub(crate) fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            let is_shared = a == 100 && b & 0xc0 == 64;
            let is_special = a == 0 || a >= 240 || (a == 192 && b == 0 && c == 0);
            let is_benchmark = a == 198 && b & 0xfe == 18;
            !(v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_documentation()
                || v4.is_multicast()
                || is_shared
                || is_special
                || is_benchmark)
        }
        IpAddr::V6(v6) => {
            let [a, b, ..] = v6.segments();
            // Addresses that embed others: NAT64, 6to4, Teredo.
            let is_wrapped = (a == 0x64 && b == 0xff9b) || a == 0x2002 || (a == 0x2001 && b == 0);
            let is_documentation = a == 0x2001 && b == 0xdb8;
            !(v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_multicast()
                || v6.is_unique_local()
                || v6.is_unicast_link_local()
                || is_wrapped
                || is_documentation)
        }
    }
}
