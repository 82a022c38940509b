//! Writes metric families in the OpenMetrics text format, by prometheus-client's encoder.

use std::borrow::Cow;
use std::fmt::Error;

use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, NoLabelSet};
use prometheus_client::metrics::MetricType;

use crate::shell::telemetry::HistogramView;

/// Labels of one sample. Values must be escaped: use [`escaped`] for what a person or a peer chose.
pub(super) type Labels<'a> = Vec<(&'static str, Cow<'a, str>)>;

/// A page of metrics in the making.
pub(super) struct Page<'e, 'a> {
    encoder: &'e mut DescriptorEncoder<'a>,
}

/// No labels.
pub(super) const fn unlabeled() -> Labels<'static> {
    Vec::new()
}

/// A label's value with backslash, quote and line feed escaped, as the format wants (the encoder leaves them as they are).
pub(super) fn escaped(value: &str) -> Cow<'_, str> {
    if !value.contains(['\\', '"', '\n']) {
        return Cow::Borrowed(value);
    }
    Cow::Owned(value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

impl<'e, 'a> Page<'e, 'a> {
    pub(super) fn new(encoder: &'e mut DescriptorEncoder<'a>) -> Self {
        Self { encoder }
    }

    /// A counter. The encoder puts `_total` behind its name.
    pub(super) fn counter<'l>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (Labels<'l>, u64)>,
    ) -> Result<(), Error> {
        let mut family = self.encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in rows {
            if labels.is_empty() {
                family.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
            } else {
                family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
            }
        }
        Ok(())
    }

    /// A counter that may have a fraction.
    pub(super) fn counter_f64(&mut self, name: &str, help: &str, value: f64) -> Result<(), Error> {
        let mut family = self.encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        family.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    /// A gauge of whole numbers.
    pub(super) fn gauge<'l>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (Labels<'l>, u64)>,
    ) -> Result<(), Error> {
        self.gauges(name, help, rows)
    }

    /// A gauge of instants or durations in seconds.
    pub(super) fn gauge_f64<'l>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (Labels<'l>, f64)>,
    ) -> Result<(), Error> {
        self.gauges(name, help, rows)
    }

    fn gauges<'l, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (Labels<'l>, V)>,
    ) -> Result<(), Error> {
        let mut family = self.encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in rows {
            if labels.is_empty() {
                family.encode_gauge(&value)?;
            } else {
                family.encode_family(&labels)?.encode_gauge(&value)?;
            }
        }
        Ok(())
    }

    /// A histogram.
    pub(super) fn histogram<'l>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (Labels<'l>, HistogramView)>,
    ) -> Result<(), Error> {
        let mut family = self.encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (labels, view) in rows {
            family.encode_family(&labels)?.encode_histogram::<NoLabelSet>(
                view.sum_seconds,
                view.count,
                &view.buckets,
                None,
            )?;
        }
        Ok(())
    }

    /// Constant facts as labels. The encoder puts `_info` behind its name.
    pub(super) fn info(&mut self, name: &str, help: &str, labels: &Labels<'_>) -> Result<(), Error> {
        let mut family = self.encoder.encode_descriptor(name, help, None, MetricType::Info)?;
        family.encode_info(labels)
    }
}
