# The appliance as a container: docs/install.md says how it is run. dpdk-build/stages.sh runs builder and runtime without an engine.

FROM debian:bookworm AS builder
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates curl \
    && curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal
ENV PATH=/root/.cargo/bin:$PATH
WORKDIR /src
COPY dpdk-build dpdk-build
# A layer of its own: DPDK is built once for many changes of the program.
RUN dpdk-build/install.sh static && dpdk-build/static.sh
COPY . .
RUN package/build.sh && cp target/package/causeway_*.deb /causeway.deb

# What can be tested where an image is built: no network namespaces, no root rights outside.
FROM builder AS test
RUN dpdk-build/install.sh build && cargo test --locked --quiet -p wire -p record -p bridge -p config -p pipeline -p session -p machine

FROM debian:bookworm-slim AS runtime
COPY --from=builder /causeway.deb /tmp/causeway.deb
COPY dpdk-build/container.sh /tmp/container.sh
RUN sh /tmp/container.sh
EXPOSE 443/tcp 443/udp
USER causeway
ENTRYPOINT ["/usr/bin/causeway"]
CMD ["run", "-c", "/etc/causeway/causeway.toml"]
