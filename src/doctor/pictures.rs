//! The newest pictures of the history, looked for by their names.

use super::{Aspect, Finding};
use crate::config::Config;
use crate::queue::Queue;
use crate::queue::verify::LostPictures;
use crate::spelling::count;

/// Whether they are where they were put; nothing where there are none. What is wrong with the
/// database is told elsewhere.
pub(super) async fn pictures(config: &Config) -> Option<Finding> {
    let queue = Queue::open(config).await.ok()?;
    let folder = config.outputs.display();
    match queue.lost_pictures().await {
        Ok(LostPictures { looked_for: 0, .. }) => None,
        Ok(LostPictures { looked_for, lost: 0 }) => {
            let newest = count(looked_for, "picture");
            Some(Finding::ok(Aspect::Pictures, format!("the newest {newest} are in {folder}")))
        }
        Ok(LostPictures { looked_for, lost }) => {
            let told = format!(
                "of the newest {} of the history {lost} {} gone from {folder}: `zimaged verify` \
                 names them and reads all others, `zimaged retry --missing --all` makes them again",
                count(looked_for, "picture"),
                if lost == 1 { "is" } else { "are" }
            );
            Some(Finding::warning(Aspect::Pictures, told))
        }
        Err(error) => {
            let told = format!("the pictures of the history cannot be looked for: {error}");
            Some(Finding::warning(Aspect::Pictures, told))
        }
    }
}
