//! Where a node's own work runs.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::wakeful::Wakeful;

/// Which runtime the endpoint, its streams and the DHT driver run on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Executor {
    /// A current-thread runtime of the node's own, on a thread of its own: callers on any runtime
    /// hand over to it, and handlers that block or compute never stall it.
    #[default]
    Own,
    /// The runtime it is built in: for simulation, paused clocks and single-threaded programs.
    Current,
}

impl Executor {
    /// Starts the runtime, or takes hold of the current one.
    ///
    /// # Errors
    /// What the operating system says when a thread cannot be had.
    ///
    /// # Panics
    /// `Current` outside a tokio runtime panics, as everything of tokio does.
    pub fn start(self) -> io::Result<NodeRuntime> {
        match self {
            Self::Own => NodeRuntime::own(),
            Self::Current => Ok(NodeRuntime {
                handle: Handle::current(),
                wakeful: None,
                _thread: None,
            }),
        }
    }
}

/// A running [`Executor`]. Cheap to clone; the thread of `Own` ends with the last clone.
#[derive(Debug, Clone)]
pub struct NodeRuntime {
    handle: Handle,
    /// Keeps the thread of `Own` awake.
    wakeful: Option<Arc<Wakeful>>,
    /// Dropping the last sender lets the thread return.
    _thread: Option<Arc<oneshot::Sender<()>>>,
}

impl NodeRuntime {
    fn own() -> io::Result<Self> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .event_interval(EVENT_INTERVAL)
            .build()?;
        let handle = runtime.handle().clone();
        let wakeful = {
            let _entered = runtime.enter();
            Arc::new(Wakeful::new())
        };
        let keeping_awake = Arc::clone(&wakeful);
        let (stop, stopped) = oneshot::channel();
        thread::Builder::new()
            .name("macula-node".to_owned())
            .spawn(move || {
                runtime.spawn(async move { keeping_awake.run().await });
                // The sender is only ever dropped, which is the signal.
                let _ = runtime.block_on(stopped);
            })?;
        Ok(Self {
            handle,
            wakeful: Some(wakeful),
            _thread: Some(Arc::new(stop)),
        })
    }

    /// Spawns a task there.
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.handle.spawn(future)
    }

    /// Something was sent or received on it.
    pub(crate) fn note(&self) {
        if let Some(wakeful) = &self.wakeful {
            wakeful.note();
        }
    }

    /// Handle of the runtime.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }
}

/// Tasks that a node's own thread polls before it looks for packets again. With tokio's own number a
/// packet waits a millisecond behind the lanes of a peer that floods.
const EVENT_INTERVAL: u32 = 8;
