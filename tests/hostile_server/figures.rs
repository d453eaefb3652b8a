//! The numbers in `docs/SECURITY.md` are the code's.
