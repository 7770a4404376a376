//! Situations of name resolution: files, nameservers and the right result, beside the result of glibc 2.36 (`getent ahosts`
//! of Debian 12).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::names::{Family, NameAnswer, NameServer};

/// The nameservers of the situations. They listen on these addresses, on port 53 where that is possible.
const NAME_SERVERS: [Ipv4Addr; 2] = [Ipv4Addr::new(127, 0, 7, 1), Ipv4Addr::new(127, 0, 7, 2)];
/// An address of this machine on which nothing listens.
const CLOSED: &str = "127.0.7.9";
const V4: &str = "127.0.0.1";
const V6: &str = "::1";

/// The result of a lookup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameResult {
    /// These addresses.
    Addresses(&'static [&'static str]),
    /// The name does not exist.
    NotFound,
    /// The name has no address.
    NoAddress,
    /// No nameserver gave a usable response.
    NoResponse,
    /// No nameserver is configured.
    NoServer,
}

/// One situation.
#[derive(Debug, Clone, Copy)]
pub struct NameSituation {
    /// A short description.
    pub name: &'static str,
    /// The text of `/etc/resolv.conf`, or `None` if there is no such file. `@1` and `@2` are the nameservers, `@9` is an
    /// address on which nothing listens.
    pub resolv_conf: Option<&'static str>,
    /// The text of `/etc/hosts`.
    pub hosts: &'static str,
    /// The host name to look up.
    pub host: &'static str,
    /// The answers of both nameservers.
    pub answers: fn(server: usize, name: &str, family: Family) -> NameAnswer,
    /// The right result.
    pub right: NameResult,
    /// The addresses that glibc returns, if they differ from the right ones, with the reason for the difference.
    pub glibc: Option<(&'static [&'static str], &'static str)>,
}

impl NameSituation {
    /// Starts the nameservers of this situation on `port`, or on any port if it is 0.
    #[must_use]
    pub fn start(&self, port: u16) -> Vec<NameServer> {
        let answers = self.answers;
        let servers = NAME_SERVERS.iter().enumerate();
        let servers = servers.map(|(number, address)| {
            let address = SocketAddr::new((*address).into(), port);
            NameServer::start_at(address, move |name, family| {
                answers(number + 1, name, family)
            })
        });
        servers.collect()
    }

    /// Returns the text of `/etc/resolv.conf` with the addresses of the nameservers.
    #[must_use]
    pub fn resolv_conf(&self) -> Option<String> {
        let [first, second] = NAME_SERVERS.map(|address| address.to_string());
        let text = self.resolv_conf?;
        Some(
            text.replace("@1", &first)
                .replace("@2", &second)
                .replace("@9", CLOSED),
        )
    }
}

fn addresses(all: &[&str]) -> NameAnswer {
    let parse = |text: &&str| text.parse::<IpAddr>().expect("an address");
    NameAnswer::Addresses(all.iter().map(parse).collect())
}

fn both(name: &str) -> NameAnswer {
    match name {
        "registry.test" | "registry.corp.test" | "my_registry.test" => addresses(&[V4, V6]),
        _ => NameAnswer::NoName,
    }
}

const BOTH: NameResult = NameResult::Addresses(&[V4, V6]);
const ONE: Option<&str> = Some("nameserver @1\n");
const TWO: Option<&str> = Some("nameserver @1\nnameserver @2\n");

const PLAIN: NameSituation = NameSituation {
    name: "one nameserver",
    resolv_conf: ONE,
    hosts: "",
    host: "registry.test",
    answers: |_, name, _| both(name),
    right: BOTH,
    glibc: None,
};

/// All situations.
pub const NAME_SITUATIONS: &[NameSituation] = &[
    PLAIN,
    NameSituation {
        name: "the first nameserver says that the name does not exist, the second has it",
        resolv_conf: TWO,
        answers: |server, name, _| {
            if server == 1 {
                NameAnswer::NoName
            } else {
                both(name)
            }
        },
        right: NameResult::NotFound,
        ..PLAIN
    },
    NameSituation {
        name: "the first nameserver has the name, the second says that it does not exist",
        resolv_conf: TWO,
        answers: |server, name, _| {
            if server == 2 {
                NameAnswer::NoName
            } else {
                both(name)
            }
        },
        ..PLAIN
    },
    NameSituation {
        name: "the first nameserver fails",
        resolv_conf: TWO,
        answers: |server, name, _| {
            if server == 1 {
                NameAnswer::Fails
            } else {
                both(name)
            }
        },
        ..PLAIN
    },
    NameSituation {
        name: "the first nameserver refuses",
        resolv_conf: TWO,
        answers: |server, name, _| {
            if server == 1 {
                NameAnswer::Refuses
            } else {
                both(name)
            }
        },
        ..PLAIN
    },
    NameSituation {
        name: "the first nameserver is silent",
        resolv_conf: TWO,
        answers: |server, name, _| {
            if server == 1 {
                NameAnswer::Silence
            } else {
                both(name)
            }
        },
        ..PLAIN
    },
    NameSituation {
        name: "nothing listens at the first nameserver",
        resolv_conf: Some("nameserver @9\nnameserver @2\n"),
        ..PLAIN
    },
    NameSituation {
        name: "all nameservers fail",
        resolv_conf: TWO,
        answers: |_, _, _| NameAnswer::Fails,
        right: NameResult::NoResponse,
        ..PLAIN
    },
    NameSituation {
        name: "all nameservers are silent",
        resolv_conf: Some("nameserver @1\noptions timeout:1 attempts:1\n"),
        answers: |_, _, _| NameAnswer::Silence,
        right: NameResult::NoResponse,
        ..PLAIN
    },
    NameSituation {
        name: "the hosts file has one family, and the nameserver is silent",
        hosts: "127.0.0.1 registry.test\n",
        answers: |_, _, _| NameAnswer::Silence,
        right: NameResult::Addresses(&[V4]),
        ..PLAIN
    },
    NameSituation {
        name: "the hosts file has both families, in other letters, as an alias",
        hosts: "127.0.0.1\tother Registry.TEST # ours\n::1 registry.test\n",
        answers: |_, _, _| NameAnswer::NoName,
        ..PLAIN
    },
    NameSituation {
        name: "requests for IPv6 are dropped",
        answers: |_, name, family| match family {
            Family::Ipv4 => both(name),
            Family::Ipv6 => NameAnswer::Silence,
        },
        right: NameResult::Addresses(&[V4]),
        ..PLAIN
    },
    NameSituation {
        name: "requests for IPv4 are dropped",
        answers: |_, name, family| match family {
            Family::Ipv4 => NameAnswer::Silence,
            Family::Ipv6 => both(name),
        },
        right: NameResult::Addresses(&[V6]),
        glibc: Some((&[], "it drops the addresses that it has")),
        ..PLAIN
    },
    NameSituation {
        name: "requests for IPv6 fail",
        answers: |_, name, family| match family {
            Family::Ipv4 => both(name),
            Family::Ipv6 => NameAnswer::Fails,
        },
        right: NameResult::Addresses(&[V4]),
        ..PLAIN
    },
    NameSituation {
        name: "the name does not exist for IPv6",
        answers: |_, name, family| match family {
            Family::Ipv4 => both(name),
            Family::Ipv6 => NameAnswer::NoName,
        },
        right: NameResult::Addresses(&[V4]),
        ..PLAIN
    },
    NameSituation {
        name: "IPv6 alone",
        answers: |_, _, _| addresses(&[V6]),
        right: NameResult::Addresses(&[V6]),
        ..PLAIN
    },
    NameSituation {
        name: "the name has no address",
        answers: |_, _, _| addresses(&[]),
        right: NameResult::NoAddress,
        ..PLAIN
    },
    NameSituation {
        name: "there is no resolv.conf",
        resolv_conf: None,
        right: NameResult::NoServer,
        ..PLAIN
    },
    NameSituation {
        name: "resolv.conf names no valid nameserver",
        resolv_conf: Some("nameserver one.two\nsearch corp.test\n"),
        right: NameResult::NoServer,
        ..PLAIN
    },
    NameSituation {
        name: "a short name and a search domain",
        resolv_conf: Some("search other.test corp.test\nnameserver @1\n"),
        host: "registry",
        ..PLAIN
    },
    NameSituation {
        name: "search domains that are no names",
        resolv_conf: Some("search .lan ~. corp.test\nnameserver @1\n"),
        host: "registry",
        ..PLAIN
    },
    NameSituation {
        name: "ndots asks for the search domain first",
        resolv_conf: Some("search corp.test\noptions ndots:5\nnameserver @1\n"),
        host: "registry.test",
        answers: |_, name, _| match name {
            "registry.test.corp.test" => addresses(&[V4]),
            name => both(name),
        },
        right: NameResult::Addresses(&[V4]),
        ..PLAIN
    },
    NameSituation {
        name: "a name with a dot at its end has no search domain",
        resolv_conf: Some("search corp.test\nnameserver @1\n"),
        host: "registry.",
        right: NameResult::NotFound,
        ..PLAIN
    },
    NameSituation {
        name: "a name with an underscore",
        host: "my_registry.test",
        ..PLAIN
    },
    NameSituation {
        name: "an alias with its target",
        answers: |_, _, _| {
            NameAnswer::Alias("target.test".into(), vec![Ipv4Addr::LOCALHOST.into()])
        },
        right: NameResult::Addresses(&[V4]),
        ..PLAIN
    },
    NameSituation {
        name: "a truncated response",
        answers: |_, _, _| NameAnswer::OverTcp(vec![Ipv4Addr::LOCALHOST.into()]),
        right: NameResult::Addresses(&[V4]),
        ..PLAIN
    },
    NameSituation {
        name: "IPv6 is switched off",
        resolv_conf: Some("nameserver @1\noptions no-aaaa\n"),
        right: NameResult::Addresses(&[V4]),
        ..PLAIN
    },
];
