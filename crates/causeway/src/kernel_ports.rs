//! Kernel ports that come and go while the workers run: those of gateways, and those of the configuration whose interface was made anew.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use control::{HostPorts, Lines, PortState, QueueCounters};
use crossbeam::channel::Sender;
use kernelport::cut::Checksums;
use kernelport::{Options, Spread};
use pipeline::tables::PortIndex;
use wire::mac::MacAddr;
use worker::{Pace, PortChange, PortQueues, Queues};

use crate::ports::{OpenKernelPort, OpenPort};

/// All open ports, and the way to the workers that poll them.
#[derive(Clone)]
pub(crate) struct KernelPorts {
    workers: Vec<Sender<PortChange>>,
    /// Those of the configuration.
    configured: Rc<RefCell<Vec<OpenPort>>>,
    gateways: Rc<RefCell<BTreeMap<usize, OpenKernelPort>>>,
}

impl KernelPorts {
    /// The ports of the configuration, and no gateways yet, for workers that take changes from these channels.
    pub(crate) fn new(configured: Rc<RefCell<Vec<OpenPort>>>, workers: Vec<Sender<PortChange>>) -> Self {
        Self { workers, configured, gateways: Rc::default() }
    }

    /// Gives each worker its queues of a port, instead of those that it has of it.
    fn hand_out(&self, port: PortIndex, queues: Vec<Queues>, pace: Pace) -> Result<(), String> {
        for (worker, queues) in self.workers.iter().zip(queues) {
            let added = PortChange::Add(PortQueues { port, queues, pace });
            worker.try_send(added).map_err(|_| "a worker takes no orders")?;
        }
        Ok(())
    }
}

impl Lines for KernelPorts {
    fn states(&self) -> Vec<PortState> {
        let mut states: Vec<PortState> = self.configured.borrow().iter().map(OpenPort::state).collect();
        for (at, port) in self.gateways.borrow().iter() {
            states.resize_with(*at, PortState::default);
            states.push(port.state());
        }
        states
    }

    fn queues(&self) -> Vec<QueueCounters> {
        self.configured.borrow().iter().map(OpenPort::queues).collect()
    }
}

impl HostPorts for KernelPorts {
    fn open(&mut self, index: PortIndex, interface: &str) -> Result<(), String> {
        let options = Options {
            interface: interface.into(),
            queues: self.workers.len(),
            promiscuous: true,
            spread: Spread::Flow,
            checksums: Checksums::Finish,
        };
        let (port, queues) = OpenKernelPort::open(options, 0).map_err(|error| error.to_string())?;
        self.hand_out(index, queues, Pace::Seldom)?;
        self.gateways.borrow_mut().insert(index.index(), port);
        Ok(())
    }

    fn close(&mut self, index: PortIndex) {
        for worker in &self.workers {
            // A worker that has ended has given its ports up already.
            let _ = worker.try_send(PortChange::Remove(index));
        }
        self.gateways.borrow_mut().remove(&index.index());
    }

    fn is_gone(&self, index: PortIndex) -> bool {
        self.gateways.borrow().get(&index.index()).is_some_and(OpenKernelPort::is_gone)
    }

    fn reopen(&mut self) -> Vec<(PortIndex, Result<MacAddr, String>)> {
        let mut done = Vec::new();
        for (at, port) in self.configured.borrow_mut().iter_mut().enumerate() {
            let OpenPort::Kernel(port) = port else { continue };
            if port.is_gone() || port.has_another_address() {
                let index = PortIndex(at as u8);
                let opened = port.reopen().and_then(|(mac, queues)| {
                    self.hand_out(index, queues, Pace::Always)?;
                    Ok(mac)
                });
                done.push((index, opened));
            }
        }
        done
    }
}
