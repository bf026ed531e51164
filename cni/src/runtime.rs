//! The side of a runtime: configurations, chains of plugins, cached results.
