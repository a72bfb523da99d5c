/* A VLAN interface for kernels without 802.1Q devices: attached by clsact to a host's interface, it
 * tags what the host sends with VLAN and hands up only what carries that tag, without it. With SERVICE
 * the frames carry a service tag (802.1ad) as well, in front of the other. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define VID_MASK 0x0fff

SEC("tc_push") int push(struct __sk_buff *skb)
{
	if (bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), VLAN))
		return TC_ACT_SHOT;
#ifdef SERVICE
	if (bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021AD), SERVICE))
		return TC_ACT_SHOT;
#endif
	return TC_ACT_OK;
}

SEC("tc_pop") int pop(struct __sk_buff *skb)
{
#ifdef SERVICE
	if (!skb->vlan_present || skb->vlan_proto != bpf_htons(ETH_P_8021AD) || (skb->vlan_tci & VID_MASK) != SERVICE)
		return TC_ACT_SHOT;
	if (bpf_skb_vlan_pop(skb))
		return TC_ACT_SHOT;
#endif
	if (!skb->vlan_present || (skb->vlan_tci & VID_MASK) != VLAN)
		return TC_ACT_SHOT;
	return bpf_skb_vlan_pop(skb) ? TC_ACT_SHOT : TC_ACT_OK;
}

char licence[] SEC("license") = "GPL";
