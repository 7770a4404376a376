# The action's image: one static binary and nothing else. No shell, no user, no working directory: the runner needs root
# and brings its own.
#
# Any image with cargo, gcc and the C library's static archives can build it (--build-arg BUILDER=…).
ARG BUILDER=docker.io/library/rust:1.96.1-slim-bookworm@sha256:e18a79fc84dfcfc3ab5ba72290398a644c135c97eaa881447fddc354ee4701a3
# What it is made of is written in the sources, not in the binary.
ARG BUILDKIT_SBOM_SCAN_CONTEXT=true

FROM ${BUILDER} AS builder
WORKDIR /source
# An explicit target keeps the flag away from procedural macros, which cannot be static. AWS-LC is built from the sources
# in its crate, never taken from the builder. Random numbers come from the kernel's call: a static program cannot look up
# whether the C library has it, and would need /dev/urandom.
ENV AWS_LC_SYS_USE_SYSTEM=0 RUSTFLAGS='-C target-feature=+crt-static --cfg getrandom_backend="linux_getrandom"'
# The dependencies are a layer of their own: a change of the sources alone does not compile them again.
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
COPY tests/sandbox/Cargo.toml tests/sandbox/
RUN set -eu; \
    mkdir -p src tests/sandbox/src tests/peers; \
    touch src/lib.rs tests/sandbox/src/lib.rs tests/peers/main.rs; \
    echo 'fn main() {}' >src/main.rs; \
    cargo build --release --locked --bin manifest-seal --target "$(rustc -vV | sed -n 's/^host: //p')"
COPY . .
# The copied files may be older than the empty ones. Tables for unwinding are a tenth of the program, compressed, and nothing
# reads them: a panic ends the process, and a program without symbols has no backtrace to print.
RUN set -eu; \
    target="$(rustc -vV | sed -n 's/^host: //p')"; \
    touch src/lib.rs src/main.rs; \
    cargo build --release --locked --bin manifest-seal --target "$target"; \
    objcopy --remove-section=.eh_frame --remove-section=.eh_frame_hdr "target/$target/release/manifest-seal" /manifest-seal

FROM scratch
COPY --from=builder /manifest-seal /manifest-seal
ENTRYPOINT ["/manifest-seal"]
