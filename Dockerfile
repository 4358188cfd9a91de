# The image of the operator and of the workers: both binaries, no shell, not root.
#
#   docker build -t thalweg .
FROM rust:1.95-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends clang lld && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# One profile serves everything, see docs/design/0001-one-build-profile.md.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --workspace --bins --locked && \
    mkdir /out && \
    for binary in thalweg thalweg-operator; do strip --strip-debug -o "/out/$binary" "target/debug/$binary"; done

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /out/thalweg /out/thalweg-operator /usr/local/bin/
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/thalweg"]
