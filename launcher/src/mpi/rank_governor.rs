//! The governor of a rank.

use super::cpus::Share;
use crate::launch::Launch;
use crate::local;
use rain_runtime::GovernorConfig;

/// The settings of this rank's governor.
pub fn governor_config(launch: &Launch, share: Share) -> GovernorConfig {
    let work_dir = launch.places.work_dirs.first().cloned().unwrap_or_default();
    let config = local::governor(launch, share.cpus.clone(), work_dir, share.host_parts.len());
    let resources = launch.resources.supplies(&share.host_parts, share.host_place);
    GovernorConfig { resources, prestart: config.prestart.min(share.prestart_max), ..config }
}
