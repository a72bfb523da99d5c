//! The files that a configuration names.

use std::path::{Path, PathBuf};

use crate::schema::{Key, Kind, ROOT};

/// What these name is made by the appliance and not read.
const NOT_READ: &[&str] = &["socket", "state"];

/// The files that the configuration `text` of the file `path` has read: passwords, keys, certificates. None when it is no TOML.
pub fn named_files(path: &Path, text: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    if let Ok(table) = text.parse::<toml::Table>() {
        walk(&table, ROOT, path.parent().unwrap_or(Path::new("")), &mut found);
    }
    found
}

fn walk(table: &toml::Table, keys: &[Key], directory: &Path, found: &mut Vec<PathBuf>) {
    for key in keys {
        match (&key.kind, table.get(key.name)) {
            (Kind::Text("path" | "file"), Some(toml::Value::String(name)))
                if !NOT_READ.contains(&key.name) =>
            {
                found.push(directory.join(name));
            }
            (Kind::Table(inside), Some(toml::Value::Table(table))) => walk(table, inside, directory, found),
            (Kind::Tables { keys: inside, .. }, Some(toml::Value::Array(tables))) => {
                for table in tables.iter().filter_map(toml::Value::as_table) {
                    walk(table, inside, directory, found);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_found_wherever_they_are_named() {
        let text = "[system]\nsocket = \"/run/a.sock\"\n[server]\ncertificate = \"server.crt\"\nkey = \"/etc/ssl/server.key\"\n\
                    [console]\nkey = \"console.key\"\n[client]\npassword_file = \"password\"\n[client.proxy]\npassword_file = \"proxy\"\n";
        let mut found = named_files(Path::new("/etc/causeway/causeway.toml"), text);
        found.sort();
        let wanted = ["/etc/causeway/console.key", "/etc/causeway/password", "/etc/causeway/proxy"]
            .into_iter()
            .chain(["/etc/causeway/server.crt", "/etc/ssl/server.key"]);
        assert_eq!(found, wanted.map(PathBuf::from).collect::<Vec<_>>());
    }
}
