//! Atomic values. The scheduler may choose another thread before each step.

pub(crate) use std::sync::atomic::Ordering;

macro_rules! atomic {
    ($name:ident, $value:ty) => {
        /// One value.
        #[derive(Debug, Default)]
        pub(crate) struct $name(std::sync::atomic::$name);

        #[allow(dead_code, reason = "every kind has the same functions")]
        impl $name {
            /// One with this value.
            pub(crate) const fn new(value: $value) -> Self {
                $name(std::sync::atomic::$name::new(value))
            }

            /// Reads it.
            pub(crate) fn load(&self, order: Ordering) -> $value {
                super::switch();
                self.0.load(order)
            }

            /// Replaces it.
            pub(crate) fn store(&self, value: $value, order: Ordering) {
                super::switch();
                self.0.store(value, order);
            }
        }
    };
}

atomic!(AtomicBool, bool);
atomic!(AtomicU8, u8);
atomic!(AtomicUsize, usize);

impl AtomicUsize {
    /// Adds, and returns the value before.
    pub(crate) fn fetch_add(&self, value: usize, order: Ordering) -> usize {
        super::switch();
        self.0.fetch_add(value, order)
    }

    /// Subtracts, and returns the value before.
    pub(crate) fn fetch_sub(&self, value: usize, order: Ordering) -> usize {
        super::switch();
        self.0.fetch_sub(value, order)
    }
}

impl AtomicU8 {
    /// Replaces `from` with `to`, and returns the value before, as an error if it was another.
    pub(crate) fn compare_exchange(
        &self,
        from: u8,
        to: u8,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u8, u8> {
        super::switch();
        self.0.compare_exchange(from, to, success, failure)
    }
}
