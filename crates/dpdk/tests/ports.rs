//! Ports without any hardware: a ring that gives back what it is given, and a port that gives endless packets. One
//! test, since the EAL is one for the process.
#![allow(missing_docs)]

use arrayvec::ArrayVec;
use dpdk::{Eal, EalConfig, Error, Mbuf, MbufPool, PortConfig, ThreadRegistration, free_burst};
use wire::buf::{BufPool, HEADROOM, PacketBuf};

const CONFIG: PortConfig = PortConfig { mtu: Some(1500), queues: 1, descriptors: 256, promiscuous: true };

#[test]
fn packets_through_virtual_ports() {
    let config = EalConfig { hugepages: false, memory_mb: 64, pci: vec![] };
    let eal = Eal::init(&config).expect("starts");
    assert_eq!(Eal::init(&config).expect_err("twice"), Error::AlreadyStarted);
    let _thread = ThreadRegistration::register().expect("registers");
    let mut pool = MbufPool::new(&eal, "packets", 2047, 2048).expect("fits");
    assert_eq!(pool.available(), 2047);

    buffers_grow_within_their_bounds(&mut pool);
    a_ring_gives_back_what_it_got(&eal, &mut pool);
    a_null_port_gives_packets(&eal, &pool);
    what_is_not_there_is_told_by_name(&eal, &pool);
    assert_eq!(pool.available(), 2047, "no buffer is lost");
}

fn buffers_grow_within_their_bounds(pool: &mut MbufPool) {
    let mut buf = pool.alloc().expect("there are some");
    assert_eq!((buf.len(), buf.headroom(), buf.tailroom()), (0, HEADROOM, 2048));
    buf.append(100).expect("room").fill(7);
    buf.prepend(20).expect("room").fill(8);
    assert!(buf.append(2000).is_none() && buf.prepend(120).is_none());
    buf.trim_front(10);
    buf.truncate(50);
    assert_eq!(buf.data(), [[8; 10].as_slice(), &[7; 40]].concat());
    let all: Vec<Mbuf> = std::iter::from_fn(|| pool.alloc()).collect();
    assert_eq!(all.len(), 2046, "an empty pool says so");
}

fn a_ring_gives_back_what_it_got(eal: &Eal, pool: &mut MbufPool) {
    let port = eal.open("net_ring0").expect("opens");
    let (port, mut queues) = port.start(&CONFIG, pool).expect("starts");
    assert!(port.link().up);
    let (rx, tx) = &mut queues[0];
    let mut burst: ArrayVec<Mbuf, 32> = ArrayVec::new();
    for n in 0..32u8 {
        let mut buf = pool.alloc().expect("there are some");
        buf.append(60).expect("room").fill(n);
        burst.push(buf);
    }
    assert_eq!(tx.burst(&mut burst), 32);
    assert!(burst.is_empty());
    let mut back: ArrayVec<Mbuf, 32> = ArrayVec::new();
    assert_eq!(rx.burst(&mut back), 32);
    assert!(back.iter().zip(0..).all(|(buf, n)| buf.data() == [n; 60] && buf.is_contiguous()));
    // What the port does not take stays, in order: the ring holds 1023.
    let mut sent = 0;
    loop {
        let mut more: ArrayVec<Mbuf, 48> = ArrayVec::new();
        for n in 0..48u8 {
            let mut buf = pool.alloc().expect("there are some");
            buf.append(60).expect("room").fill(n);
            more.push(buf);
        }
        let taken = tx.burst(&mut more);
        sent += taken;
        if !more.is_empty() {
            assert!(more.iter().zip(taken as u8..).all(|(buf, n)| buf.data()[0] == n));
            free_burst(&mut more);
            break;
        }
    }
    let mut received = 0;
    while rx.burst(&mut back) > 0 || back.len() == 32 {
        received += back.len();
        free_burst(&mut back);
    }
    assert_eq!(received, sent + 32);
    let counted = port.queue_counters().expect("the driver counts");
    let of =
        |name: &str| counted[0].iter().find(|(found, _)| found == name).map(|(_, value)| *value as usize);
    assert_eq!((counted.len(), of("rx_packets"), of("tx_packets")), (1, Some(received), Some(sent + 32)));
    port.stop(queues).expect("stops");
}

fn a_null_port_gives_packets(eal: &Eal, pool: &MbufPool) {
    let port = eal.open("net_null0,size=64").expect("opens");
    let (port, mut queues) = port.start(&CONFIG, pool).expect("starts");
    let mut burst: ArrayVec<Mbuf, 32> = ArrayVec::new();
    let (rx, tx) = &mut queues[0];
    assert_eq!(rx.burst(&mut burst), 32);
    assert_eq!(burst[0].len(), 64);
    assert_eq!(tx.burst(&mut burst), 32);
    let other = eal.open("net_null1").expect("opens").start(&CONFIG, pool).expect("starts");
    assert!(port.stop(other.1).is_err(), "queues of another port are not its own");
}

fn what_is_not_there_is_told_by_name(eal: &Eal, pool: &MbufPool) {
    let told = |device: &str| eal.open(device).expect_err("not there").to_string();
    assert!(told("eth7").contains("eth7"));
    assert!(told("0000:7f:00.0").contains("0000:7f:00.0"));
    assert!(told("net_af_packet0,iface=nosuchif").contains("nosuchif"));
    let port = eal.open("net_ring7").expect("opens");
    let many = PortConfig { queues: 60, ..CONFIG };
    let told = port.start(&many, pool).expect_err("too many queues").to_string();
    assert!(told.contains("net_ring7") && told.contains("60 workers"), "{told}");
}
