//! `[peers]`: where other nodes reach this one, and how much of them is taken.

use super::{as_u64, quoted, wrong, ConfigError};
use crate::peer::{parse_announce, parse_listen, Limits};
use serde::Deserialize;
use std::net::SocketAddr;

/// The table.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Peers {
    listen: String,
    announce: Option<String>,
    inbound: usize,
    inbound_per_ip: usize,
    bytes_per_second: u32,
    messages_per_second: u32,
}

impl Default for Peers {
    fn default() -> Peers {
        let limits = Limits::default();
        Peers {
            listen: "127.0.0.1:9810".into(),
            announce: None,
            inbound: limits.max_inbound,
            inbound_per_ip: limits.max_inbound_per_ip,
            bytes_per_second: limits.bytes_per_second,
            messages_per_second: limits.messages_per_second,
        }
    }
}

impl Peers {
    pub(super) fn listen(&self) -> Result<Option<SocketAddr>, ConfigError> {
        if self.listen == "off" {
            return Ok(None);
        }
        let remedy = "write an IP address and a port, for example 127.0.0.1:9810, or \"off\"";
        parse_listen(&self.listen).map(Some).map_err(|_| wrong("peers.listen", quoted(&self.listen), remedy))
    }

    pub(super) fn announce(&self) -> Result<Option<String>, ConfigError> {
        let Some(announce) = &self.announce else { return Ok(None) };
        let wrong = |remedy| wrong("peers.announce", quoted(announce), remedy);
        if self.listen == "off" {
            return Err(wrong(
                "peers.listen is \"off\", and nobody would get in there; let it listen, or leave this out",
            ));
        }
        let remedy =
            "write the one host:port that others dial, for example lender.example.org:9810 or [2001:db8::1]:9810";
        parse_announce(announce).map(Some).map_err(|_| wrong(remedy))
    }

    pub(super) fn limits(&self) -> Result<Limits, ConfigError> {
        let within = |field, value: u64, least: u64, most: u64| match (least..=most).contains(&value) {
            true => Ok(()),
            false => Err(wrong(field, value, format!("{least} to {most} are right"))),
        };
        within("peers.inbound", as_u64(self.inbound), 1, 1_000)?;
        within("peers.inbound_per_ip", as_u64(self.inbound_per_ip), 1, as_u64(self.inbound))?;
        // Below this the messages of one loan would not arrive before the other side gives up.
        within("peers.bytes_per_second", self.bytes_per_second.into(), 64 << 10, 1 << 30)?;
        within("peers.messages_per_second", self.messages_per_second.into(), 10, 100_000)?;
        Ok(Limits {
            max_inbound: self.inbound,
            max_inbound_per_ip: self.inbound_per_ip,
            bytes_per_second: self.bytes_per_second,
            messages_per_second: self.messages_per_second,
            ..Limits::default()
        })
    }
}
