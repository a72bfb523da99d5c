//! The appliance configuration: TOML to validated types.
