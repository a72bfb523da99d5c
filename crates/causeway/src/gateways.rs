//! The ports of gateways: kernel ports that come and go while the workers run.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use control::{HostPorts, PortState};
use crossbeam::channel::Sender;
use kernelport::cut::Checksums;
use kernelport::{KernelPort, Options, Spread};
use pipeline::BURST;
use pipeline::tables::PortIndex;
use worker::{Pace, PortChange, PortQueues, Queues};

use crate::ports::OpenPort;

/// All gateways' ports, and the way to the workers that poll them.
#[derive(Clone)]
pub(crate) struct GatewayPorts {
    workers: Vec<Sender<PortChange>>,
    open: Rc<RefCell<BTreeMap<usize, OpenPort>>>,
}

impl GatewayPorts {
    /// None yet, for workers that take changes from these channels.
    pub(crate) fn new(workers: Vec<Sender<PortChange>>) -> Self {
        Self { workers, open: Rc::default() }
    }

    /// Puts the states of the gateways' ports behind those of the `first` other ports, by number.
    pub(crate) fn add_states(&self, first: usize, states: &mut Vec<PortState>) {
        states.resize_with(first, PortState::default);
        for (at, port) in self.open.borrow().iter() {
            states.resize_with(*at, PortState::default);
            states.push(port.state());
        }
    }
}

impl HostPorts for GatewayPorts {
    fn open(&mut self, index: PortIndex, interface: &str) -> Result<(), String> {
        let options = Options {
            interface: interface.into(),
            queues: self.workers.len(),
            promiscuous: true,
            spread: Spread::Flow,
            checksums: Checksums::Finish,
        };
        let (port, queues) = KernelPort::open::<BURST>(&options).map_err(|error| error.to_string())?;
        for (worker, pair) in self.workers.iter().zip(queues) {
            let queues = Queues::Kernel(Box::new(pair));
            let added = PortChange::Add(PortQueues { port: index, queues, pace: Pace::Seldom });
            worker.try_send(added).map_err(|_| "a worker takes no orders")?;
        }
        self.open.borrow_mut().insert(index.index(), OpenPort::Kernel(port, RefCell::default()));
        Ok(())
    }

    fn close(&mut self, index: PortIndex) {
        for worker in &self.workers {
            // A worker that has ended has given its ports up already.
            let _ = worker.try_send(PortChange::Remove(index));
        }
        self.open.borrow_mut().remove(&index.index());
    }
}
