/* A network that gives back what it gets, as a port group in promiscuous mode with two uplinks does: attached by clsact to
 * the ingress of an interface, it sends a copy of every frame out of the same interface. */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

SEC("tc_reflect") int reflect(struct __sk_buff *skb)
{
	bpf_clone_redirect(skb, skb->ifindex, 0);
	return TC_ACT_OK;
}

char licence[] SEC("license") = "GPL";
