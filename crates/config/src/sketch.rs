//! What a configuration says of its machine, as far as it can be read: for programs that find one that is not finished.

use std::path::Path;

use crate::reader::Document;
use crate::{Port, System, ports, system};

/// Ports and cores of a configuration that need not be good.
#[derive(Clone, Debug)]
pub struct Sketch {
    /// How the appliance runs, with the default of what cannot be read.
    pub system: System,
    /// The ports that can be read, each with the line where its table stands.
    pub ports: Vec<(usize, Port)>,
}

impl Sketch {
    /// Reads what there is; `None` when the text is no TOML.
    pub fn of(path: &Path, text: &str) -> Option<Self> {
        let document = Document::parse(path, text).ok()?;
        let root = document.root();
        let system = system::read(&root.table_or_empty("system"), path.parent().unwrap_or(Path::new(".")));
        let ports =
            root.tables("port").into_iter().filter_map(|table| Some((table.line(), ports::port(&table)?)));
        Some(Self { system, ports: ports.collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device;

    #[test]
    fn what_is_not_finished_is_read_as_far_as_it_goes() {
        let text = "mode = \"client\"\n[system]\nmemory_mb = 512\nworkers = \"?\"\n\n[[port]]\nname = \"a\"\nrole = \"trunk\"\n\
                    device = \"kernel:lan0\"\n[[port]]\nname = \"b\"\n[[segment]]\ntunnel_id = \"<1 to 4093>\"\n";
        let sketch = Sketch::of(Path::new("a.toml"), text).expect("TOML");
        assert_eq!((sketch.system.memory_mb, sketch.system.workers), (512, vec![0]));
        let [(line, port)] = &sketch.ports[..] else { panic!("{:?}", sketch.ports) };
        assert_eq!((*line, &port.device), (6, &Device::Kernel("lan0".into())));
        assert!(Sketch::of(Path::new("a.toml"), "tunnel_id = <1 to 4093>").is_none());
    }
}
