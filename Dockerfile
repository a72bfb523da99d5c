# The appliance as a container. It needs host networking or macvlan interfaces, CAP_NET_ADMIN and
# CAP_NET_RAW; with PCI ports also /dev/hugepages and the vfio device. See docs/operations.md.

FROM debian:bookworm AS builder
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates curl \
    && curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal
ENV PATH=/root/.cargo/bin:$PATH
WORKDIR /src
COPY dpdk-build dpdk-build
RUN dpdk-build/install.sh build
COPY . .
RUN cargo build --release --locked -p causeway

FROM debian:bookworm-slim
COPY dpdk-build /tmp/dpdk-build
RUN /tmp/dpdk-build/install.sh run && rm -rf /tmp/dpdk-build /var/lib/apt/lists/*
COPY --from=builder /src/target/release/causeway /usr/bin/causeway
COPY appliance-config /etc/causeway/examples
EXPOSE 443/tcp 443/udp
ENTRYPOINT ["/usr/bin/causeway"]
CMD ["run", "-c", "/etc/causeway/causeway.toml"]
