/* What of DPDK is a static inline function in its headers, made callable from Rust. */
#ifndef CAUSEWAY_SHIM_H
#define CAUSEWAY_SHIM_H

#include <rte_bus_vdev.h>
#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>

uint16_t shim_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **packets, uint16_t count);
uint16_t shim_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **packets, uint16_t count);
struct rte_mbuf *shim_alloc(struct rte_mempool *pool);
int shim_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **packets, unsigned int count);
void shim_free(struct rte_mbuf *packet);
/* Sets so many pairs of queues up; where the port can, flows are spread over them by addresses and ports (RSS). */
int shim_configure(uint16_t port, uint16_t queues);
int shim_errno(void);

#endif
