//! The layers of the design as a table.

/// Every crate of the workspace, from the bottom up.
pub(super) const LAYERS: &[Layer] = &[
    Layer {
        name: "macula-core",
        uses: Uses::Only(&[]),
        never: &[
            always("tokio"),
            always("mio"),
            always("async-trait"),
            always("s2n-quic"),
        ],
    },
    Layer {
        name: "macula-transport",
        uses: Uses::Only(&[whole("macula-core")]),
        never: &[features_off("s2n-quic"), features_off("rustls")],
    },
    Layer {
        name: "macula-dht",
        uses: Uses::Only(&[whole("macula-core"), opt_in("macula-transport")]),
        never: &[
            features_off("tokio"),
            features_off("macula-transport"),
            always("s2n-quic"),
        ],
    },
    Layer {
        name: "macula-registry",
        uses: Uses::Only(&[whole("macula-core"), trait_only("macula-dht")]),
        never: &[
            always("macula-transport"),
            always("s2n-quic"),
            always("rustls"),
        ],
    },
    Layer {
        name: "macula-rpc",
        uses: Uses::Only(&[
            whole("macula-core"),
            whole("macula-transport"),
            whole("macula-registry"),
        ]),
        never: &[always("s2n-quic"), always("rustls")],
    },
    Layer {
        name: "macula-client",
        uses: Uses::Only(&[
            whole("macula-core"),
            whole("macula-transport"),
            whole("macula-dht"),
            whole("macula-registry"),
            whole("macula-rpc"),
        ]),
        never: &[always("macula-sim")],
    },
    Layer {
        name: "macula-cli",
        uses: Uses::Only(&[whole("macula-client"), whole("macula-sim")]),
        never: &[],
    },
    Layer {
        name: "macula-sim",
        // Only the machine, which is there without any feature.
        uses: Uses::Only(&[whole("macula-core"), trait_only("macula-dht")]),
        never: &[
            always("macula-transport"),
            always("s2n-quic"),
            always("tokio"),
        ],
    },
    Layer {
        name: "xtask",
        uses: Uses::Anything,
        never: &[],
    },
    Layer {
        name: "benches",
        uses: Uses::Anything,
        never: &[],
    },
];

/// What checks and measures the others; nobody depends on it.
pub(super) const TOOLS: [&str; 2] = ["xtask", "benches"];

/// One crate: what it may use of ours, and what may be nowhere below it.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) name: &'static str,
    pub(super) uses: Uses,
    pub(super) never: &'static [Ban],
}

/// Which of our crates a crate may name among its dependencies.
#[derive(Debug, Clone, Copy)]
pub(super) enum Uses {
    /// Those at the ends of its arrows.
    Only(&'static [Arrow]),
    /// All but the tools.
    Anything,
}

/// An allowed dependency on one of ours.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrow {
    pub(super) to: &'static str,
    pub(super) extent: Extent,
    pub(super) when: When,
}

/// How much of a crate an arrow gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// All of it.
    Whole,
    /// What is there without any of its features.
    TraitOnly,
}

/// A package that may not be in the tree of a crate.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ban {
    pub(super) package: &'static str,
    pub(super) when: When,
}

/// With which features of the crate a rule counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    Always,
    FeaturesOff,
    FeaturesOn,
}

const fn whole(to: &'static str) -> Arrow {
    Arrow {
        to,
        extent: Extent::Whole,
        when: When::Always,
    }
}

const fn trait_only(to: &'static str) -> Arrow {
    Arrow {
        to,
        extent: Extent::TraitOnly,
        when: When::Always,
    }
}

/// An arrow that is there only with the features of the crate on.
const fn opt_in(to: &'static str) -> Arrow {
    Arrow {
        to,
        extent: Extent::Whole,
        when: When::FeaturesOn,
    }
}

const fn always(package: &'static str) -> Ban {
    Ban {
        package,
        when: When::Always,
    }
}

const fn features_off(package: &'static str) -> Ban {
    Ban {
        package,
        when: When::FeaturesOff,
    }
}
