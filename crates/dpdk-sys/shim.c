#include "shim.h"

uint16_t shim_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **packets, uint16_t count)
{
	return rte_eth_rx_burst(port, queue, packets, count);
}

uint16_t shim_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **packets, uint16_t count)
{
	return rte_eth_tx_burst(port, queue, packets, count);
}

struct rte_mbuf *shim_alloc(struct rte_mempool *pool)
{
	return rte_pktmbuf_alloc(pool);
}

int shim_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **packets, unsigned int count)
{
	return rte_pktmbuf_alloc_bulk(pool, packets, count);
}

void shim_free(struct rte_mbuf *packet)
{
	rte_pktmbuf_free(packet);
}

int shim_configure(uint16_t port, uint16_t queues)
{
	const uint64_t wanted = RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP;
	struct rte_eth_conf conf = {0};
	struct rte_eth_dev_info info;
	int code = rte_eth_dev_info_get(port, &info);

	if (code != 0)
		return code;
	if (queues > 1 && (info.flow_type_rss_offloads & wanted) != 0) {
		conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
		conf.rx_adv_conf.rss_conf.rss_hf = info.flow_type_rss_offloads & wanted;
	}
	return rte_eth_dev_configure(port, queues, queues, &conf);
}

/* rte_errno is a macro over a variable of each thread. */
int shim_errno(void)
{
	return rte_errno;
}
