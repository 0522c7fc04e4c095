//! What is measured besides packets: processes, the machine, and whether the tester itself was in the way.

pub mod find;
pub mod machine;
pub mod process;
pub mod quantiles;
pub mod thresholds;
pub mod verdict;
