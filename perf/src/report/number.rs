//! Numbers as people read them: three or four digits that count.

/// `value` with as many decimals as its size calls for.
pub(crate) fn show(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 {
        "0".into()
    } else if size >= 100.0 {
        format!("{value:.0}")
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else if size >= 0.01 {
        format!("{value:.2}")
    } else {
        format!("{value:.1e}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_that_count() {
        let shown = [0.0, 1234.5, 99.96, 12.34, 1.234, 0.05, 0.000_12].map(show);
        assert_eq!(shown, ["0", "1234", "100.0", "12.3", "1.23", "0.05", "1.2e-4"]);
    }
}
