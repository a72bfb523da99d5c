//! The NICs that the appliance has drivers for (dpdk-build/static.sh says why these), by PCI vendor and device number.

/// What a number stands for.
pub(crate) struct Kind {
    pub(crate) model: String,
    /// The appliance's driver; `None` when it has none.
    pub(crate) driver: Option<&'static str>,
}

pub(crate) fn of(vendor: u32, device: u32) -> Kind {
    let (maker, driver) = match vendor {
        0x1af4 => ("virtio", matches!(device, 0x1000 | 0x1041).then_some("virtio")),
        0x15ad => ("VMware", (device == 0x07b0).then_some("vmxnet3")),
        0x1d0f => ("Amazon ENA", matches!(device, 0xec20 | 0xec21 | 0x0ec2 | 0x1ec2).then_some("ena")),
        0x8086 => ("Intel", intel(device)),
        0x15b3 => ("NVIDIA ConnectX", mlx5(device)),
        0x14e4 => ("Broadcom", None),
        0x10ec => ("Realtek", None),
        _ => ("", None),
    };
    let model = match (maker, driver) {
        ("", _) => "NIC".into(),
        ("Intel", Some(driver)) => format!("Intel {}", family(driver)),
        (maker, _) => maker.into(),
    };
    Kind { model, driver }
}

fn intel(device: u32) -> Option<&'static str> {
    /// 82598, 82599, X520, X540, X550, and their virtual functions.
    const IXGBE: &[u32] = &[
        0x10b6, 0x10c6, 0x10c7, 0x10c8, 0x10db, 0x10dd, 0x10e1, 0x10ec, 0x10ed, 0x10f1, 0x10f4, 0x10f7,
        0x10f8, 0x10f9, 0x10fa, 0x10fb, 0x10fc, 0x1507, 0x1508, 0x1514, 0x1515, 0x1517, 0x151c, 0x1528,
        0x1529, 0x152a, 0x154a, 0x154d, 0x154f, 0x1557, 0x1558, 0x1560, 0x1563, 0x1564, 0x1565, 0x15a8,
        0x15aa, 0x15ab, 0x15ac, 0x15ad, 0x15ae, 0x15b0, 0x15c2, 0x15c3, 0x15c4, 0x15c5, 0x15c6, 0x15c7,
        0x15c8, 0x15ca, 0x15cc, 0x15ce, 0x15d1, 0x15e4, 0x15e5,
    ];
    /// X710, XL710, XXV710, X722.
    const I40E: &[u32] = &[
        0x0cf8, 0x0d58, 0x104e, 0x104f, 0x101f, 0x1572, 0x1574, 0x1580, 0x1581, 0x1583, 0x1584, 0x1585,
        0x1586, 0x1587, 0x1588, 0x1589, 0x158a, 0x158b, 0x15ff, 0x37ce, 0x37cf, 0x37d0, 0x37d1, 0x37d2,
        0x37d3, 0x0dd2,
    ];
    /// Their virtual functions, and those of E810.
    const IAVF: &[u32] = &[0x154c, 0x1571, 0x1889, 0x37cd];
    /// E810, E822, E823.
    const ICE: &[u32] = &[
        0x151d, 0x124c, 0x124d, 0x124e, 0x124f, 0x1591, 0x1592, 0x1593, 0x1599, 0x159a, 0x159b, 0x188a,
        0x188b, 0x188c, 0x188d, 0x188e, 0x1890, 0x1891, 0x1892, 0x1893, 0x1894, 0x1897, 0x1898, 0x1899,
        0x189a,
    ];
    [("ixgbe", IXGBE), ("i40e", I40E), ("iavf", IAVF), ("ice", ICE)]
        .into_iter()
        .find(|(_, devices)| devices.contains(&device))
        .map(|(driver, _)| driver)
}

fn family(driver: &str) -> &'static str {
    match driver {
        "ixgbe" => "82599/X5xx",
        "i40e" => "X710/XL710/X722",
        "ice" => "E810",
        _ => "virtual function",
    }
}

/// ConnectX-4 and later, and BlueField.
fn mlx5(device: u32) -> Option<&'static str> {
    matches!(device, 0x1013..=0x1021 | 0x1023 | 0xa2d2 | 0xa2d3 | 0xa2d6 | 0xa2dc).then_some("mlx5")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_and_unknown() {
        assert_eq!(of(0x1af4, 0x1000).driver, Some("virtio"));
        assert_eq!(of(0x8086, 0x1572).driver, Some("i40e"));
        assert_eq!(of(0x8086, 0x10fb).model, "Intel 82599/X5xx");
        assert_eq!(of(0x15b3, 0x1017).driver, Some("mlx5"));
        assert_eq!(of(0x8086, 0x100e).driver, None);
        assert_eq!(of(0x1234, 1).model, "NIC");
    }
}
