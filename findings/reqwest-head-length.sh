#!/bin/bash
# The length that reqwest reports for the response to a HEAD depends on the HTTP version.
#
# reqwest 0.13.5 with hyper 1.12.0: a server answers a HEAD with `content-length: 5`, as RFC 9110, 9.3.2 has it, and no body.
# `Response::content_length()` says 0 over HTTP/1.1, and 5 over HTTP/2; the body is empty over both. Code that holds a
# bound of no bytes against that length refuses every HEAD over HTTP/2, which tests over HTTP/1.1 do not show.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir src
cat > Cargo.toml <<'END'
[package]
name = "head-length"
version = "0.0.0"
edition = "2024"

[dependencies]
http-body-util = "=0.1.5"
hyper = { version = "=1.12.0", features = ["http1", "http2", "server"] }
hyper-util = { version = "=0.1.21", features = ["server-auto", "tokio"] }
reqwest = { version = "=0.13.5", default-features = false, features = ["http2"] }
tokio = { version = "1", features = ["macros", "net", "rt"] }
END
cat > src/main.rs <<'END'
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::service::service_fn;
use hyper::{Response, body::Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let answer = service_fn(|_: hyper::Request<Incoming>| async {
                    Response::builder().header("content-length", 5).body(Empty::<Bytes>::new())
                });
                Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), answer).await
            });
        }
    });
    for builder in [reqwest::Client::builder(), reqwest::Client::builder().http2_prior_knowledge()] {
        let response = builder.build().unwrap().head(&url).send().await.unwrap();
        let (version, length) = (response.version(), response.content_length());
        let header = response.headers()["content-length"].to_str().unwrap().to_owned();
        let body = response.bytes().await.unwrap().len();
        println!("{version:?}: header {header}, content_length() {length:?}, body {body} bytes");
    }
}
END
cargo run --quiet | tee seen
diff seen - <<'END'
HTTP/1.1: header 5, content_length() Some(0), body 0 bytes
HTTP/2.0: header 5, content_length() Some(5), body 0 bytes
END
echo "as described"
