//! BigSize of BOLT 1: one, three, five or nine bytes, big-endian, minimal.

use super::TlvReason;

/// Bytes of `value` as a BigSize.
pub fn bigsize_len(value: u64) -> usize {
    match value {
        0..=0xfc => 1,
        0xfd..=0xffff => 3,
        0x1_0000..=0xffff_ffff => 5,
        _ => 9,
    }
}

/// Appends `value` as a BigSize.
pub fn push_bigsize(out: &mut Vec<u8>, value: u64) {
    let bytes = value.to_be_bytes();
    let (marker, width) = match bigsize_len(value) {
        1 => (None, 1),
        3 => (Some(0xfd), 2),
        5 => (Some(0xfe), 4),
        _ => (Some(0xff), 8),
    };
    out.extend(marker);
    out.extend(bytes.iter().skip(8 - width));
}

/// Takes a BigSize off the front of `bytes`; refuses one that is cut short or longer than it need be.
pub fn take_bigsize(bytes: &mut &[u8]) -> Result<u64, TlvReason> {
    let (first, rest) = bytes.split_first().ok_or(TlvReason::CutShort)?;
    let width = match first {
        0xfd => 2,
        0xfe => 4,
        0xff => 8,
        small => {
            *bytes = rest;
            return Ok(u64::from(*small));
        }
    };
    let (digits, rest) = rest.split_at_checked(width).ok_or(TlvReason::CutShort)?;
    let value = digits.iter().fold(0u64, |value, digit| value << 8 | u64::from(*digit));
    if bigsize_len(value) != width + 1 {
        return Err(TlvReason::NotMinimal(value));
    }
    *bytes = rest;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bigsize_is_minimal_or_refused() {
        for (value, hex) in [
            (0, "00"),
            (252, "fc"),
            (253, "fd00fd"),
            (65_535, "fdffff"),
            (65_536, "fe00010000"),
            (4_294_967_295, "feffffffff"),
            (4_294_967_296, "ff0000000100000000"),
            (u64::MAX, "ffffffffffffffffff"),
        ] {
            let mut out = Vec::new();
            push_bigsize(&mut out, value);
            assert_eq!(bitcoin::hex::DisplayHex::to_lower_hex_string(&*out), hex);
            assert_eq!(take_bigsize(&mut out.as_slice()), Ok(value));
        }
        for bytes in [&b"\xfd\x00\xfc"[..], b"\xfe\x00\x00\xff\xff", b"\xff\x00\x00\x00\x00\xff\xff\xff\xff"] {
            assert!(matches!(take_bigsize(&mut &*bytes), Err(TlvReason::NotMinimal(_))));
        }
        for bytes in [&b""[..], b"\xfd\x00", b"\xfe\x00", b"\xff\x00\x00\x00\x00\xff\xff\xff"] {
            assert_eq!(take_bigsize(&mut &*bytes), Err(TlvReason::CutShort));
        }
    }
}
