# docker build -t adit . ; how to run it is in docs/operations.md. `make image-steps` performs the same steps without Docker.

FROM rust:1.95.0-slim-bookworm AS build
WORKDIR /src
# For zlib-ng. No versions: Debian keeps one of each package, and a pin breaks with the next point release.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends cmake make && rm -rf /var/lib/apt/lists/*

# The dependencies, in a layer that only a change of the manifest or of the lock makes anew. Cargo wants every target of the manifest to have a file:
# they are empty here. No cache mounts: they would hide this layer from the next one, and not every builder has them.
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src benches \
    && echo 'fn main() {}' >src/main.rs \
    && touch src/lib.rs \
    && awk -F'"' '/^\[\[bench\]\]/ { getline; print "" >("benches/" $2 ".rs") }' Cargo.toml \
    && cargo build --release --locked --bin adit

# COPY keeps the files' times, which may be older than the build above: without a touch Cargo would take the empty crate for this one.
COPY conf conf
COPY src src
RUN touch src/lib.rs src/main.rs && cargo build --release --locked --bin adit

# glibc of the same Debian, and certificates; no shell. Its tags have no versions: where a build has to repeat to the byte, name the digest.
FROM gcr.io/distroless/cc-debian12:nonroot
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Adit" \
      org.opencontainers.image.description="An AI gateway: any OpenAI, Anthropic or AWS Bedrock client talks to any model provider" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="$REVISION"
COPY --from=build /src/target/release/adit /usr/local/bin/adit
ENV ADIT_LISTEN=0.0.0.0:8080
EXPOSE 8080
# By number: Kubernetes cannot tell whether a name is root.
USER 65532:65532
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 CMD ["/usr/local/bin/adit", "health"]
ENTRYPOINT ["/usr/local/bin/adit"]
CMD ["serve"]
