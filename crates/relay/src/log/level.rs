//! Which events are logged: a filter that a reload can replace.

use std::sync::Arc;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Metadata, Subscriber, span};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::{Context, Layer};

/// The filter of the moment. Clones are the same filter.
#[derive(Clone)]
pub(crate) struct Level {
    filter: Arc<ArcSwap<EnvFilter>>,
}

impl Level {
    /// What `log.level` says.
    pub(super) fn new(text: &str) -> anyhow::Result<Level> {
        Ok(Level {
            filter: Arc::new(ArcSwap::from_pointee(parse(text)?)),
        })
    }

    /// Replaces it, for every place in the program that logs.
    pub(crate) fn set(&self, text: &str) -> anyhow::Result<()> {
        self.filter.store(Arc::new(parse(text)?));
        tracing::callsite::rebuild_interest_cache();
        Ok(())
    }
}

fn parse(text: &str) -> anyhow::Result<EnvFilter> {
    EnvFilter::try_new(text).context("log.level")
}

/// As the filter itself; what is off or on by its level alone is remembered at the place that logs and never asked again.
impl<S: Subscriber> Layer<S> for Level {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        Layer::<S>::register_callsite(&**self.filter.load(), metadata)
    }

    fn enabled(&self, metadata: &Metadata<'_>, context: Context<'_, S>) -> bool {
        self.filter.load().enabled(metadata, context)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        self.filter.load().max_level_hint()
    }

    fn on_new_span(
        &self,
        attributes: &span::Attributes<'_>,
        id: &span::Id,
        context: Context<'_, S>,
    ) {
        self.filter.load().on_new_span(attributes, id, context);
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, context: Context<'_, S>) {
        self.filter.load().on_record(id, values, context);
    }

    fn on_enter(&self, id: &span::Id, context: Context<'_, S>) {
        self.filter.load().on_enter(id, context);
    }

    fn on_exit(&self, id: &span::Id, context: Context<'_, S>) {
        self.filter.load().on_exit(id, context);
    }

    fn on_close(&self, id: span::Id, context: Context<'_, S>) {
        self.filter.load().on_close(id, context);
    }
}
