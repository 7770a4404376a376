#!/bin/bash
# With two nameservers, hickory-resolver takes the NXDOMAIN of the second for the answer, while the first has the name.
#
# hickory-resolver 0.26.3, default options, two nameservers as in a `resolv.conf`: the first has an address for the name and
# responds after 300 ms, the second responds at once that there is no such name. Both are asked at once, and the lookup ends
# with "no records found". resolv.conf(5) has the nameservers queried in the order listed; glibc 2.36 asks the second one
# only if the first is silent or fails, and finds the address. Where an internal nameserver stands beside a public one,
# internal names are found or not by chance, and are sent to the public one.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir src
cat > Cargo.toml <<'TOML'
[package]
name = "second-nameserver"
version = "0.0.0"
edition = "2024"

[dependencies]
hickory-proto = "=0.26.3"
hickory-resolver = { version = "=0.26.3", default-features = false, features = ["tokio"] }
tokio = { version = "1", features = ["macros", "net", "rt", "time"] }
TOML
cat > src/main.rs <<'RUST'
use std::net::Ipv4Addr;
use std::time::Duration;

use hickory_proto::op::{Message, OpCode, ResponseCode};
use hickory_proto::rr::{RData, Record, RecordType};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ProtocolConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use tokio::net::UdpSocket;

/// Starts a nameserver that has the name or does not, and responds after `wait`.
async fn start(has_name: bool, wait: Duration) -> NameServerConfig {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut request = [0; 512];
        loop {
            let (length, client) = socket.recv_from(&mut request).await.unwrap();
            let request = Message::from_vec(&request[..length]).unwrap();
            let query = request.queries[0].clone();
            let mut response = Message::response(request.metadata.id, OpCode::Query);
            response.metadata.recursion_available = true;
            if !has_name {
                response.metadata.response_code = ResponseCode::NXDomain;
            } else if query.query_type() == RecordType::A {
                let address = RData::A(Ipv4Addr::LOCALHOST.into());
                response.add_answer(Record::from_rdata(query.name().clone(), 1, address));
            }
            response.add_query(query);
            tokio::time::sleep(wait).await;
            socket.send_to(&response.to_vec().unwrap(), client).await.unwrap();
        }
    });
    let mut connection = ConnectionConfig::new(ProtocolConfig::Udp);
    connection.port = port;
    NameServerConfig::new(Ipv4Addr::LOCALHOST.into(), true, vec![connection])
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let first = start(true, Duration::from_millis(300)).await;
    let second = start(false, Duration::ZERO).await;
    for (name, servers) in [("the first alone", vec![first.clone()]), ("both", vec![first, second])] {
        let config = ResolverConfig::from_parts(None, Vec::new(), servers);
        let resolver = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        let found = resolver.build().unwrap().lookup_ip("registry.test.").await;
        match found {
            Ok(found) => println!("{name}: {:?}", found.iter().collect::<Vec<_>>()),
            Err(error) => println!("{name}: no such name: {}", error.is_nx_domain()),
        }
    }
}
RUST
cargo run --quiet | tee seen
diff seen - <<'SEEN'
the first alone: [127.0.0.1]
both: no such name: true
SEEN
echo "as described"
