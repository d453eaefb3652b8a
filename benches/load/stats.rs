//! Medians, and how they are printed.

/// A measured series.
#[derive(Debug, Clone, Default)]
pub(crate) struct Series(Vec<f64>);

impl Series {
    pub(crate) fn add(&mut self, value: f64) {
        self.0.push(value);
        self.0.sort_by(f64::total_cmp);
    }

    pub(crate) fn median(&self) -> f64 {
        match self.0.len() {
            0 => f64::NAN,
            length => (self.0[length / 2] + self.0[(length - 1) / 2]) / 2.0,
        }
    }

    pub(crate) fn max(&self) -> f64 {
        self.0.last().copied().unwrap_or(f64::NAN)
    }

    /// `median [min .. max]`
    pub(crate) fn show(&self, digits: usize) -> String {
        let min = self.0.first().unwrap_or(&f64::NAN);
        format!(
            "{:.digits$} [{min:.digits$} .. {:.digits$}]",
            self.median(),
            self.max()
        )
    }
}

/// The value below which a share of sorted values lies.
pub(crate) fn percentile(sorted: &[f64], share: f64) -> f64 {
    match sorted.len() {
        0 => f64::NAN,
        length => sorted[((length as f64 * share) as usize).min(length - 1)],
    }
}
