//! Deleting stored versions: the object first, its manifest second, both read back.

use super::Run;
use crate::error::Result;
use crate::event::Stage;
use crate::facts::StoredFile;

impl Run<'_, '_> {
    /// Deletes files of the store, each only while it is the revision that was planned for.
    ///
    /// Cut short, it leaves a manifest without its object at worst: the next run takes that away.
    pub(super) async fn delete_version(&mut self, files: impl Iterator<Item = &StoredFile>) -> Result<()> {
        self.hold.renew(self.context.providers).await?;
        for file in files {
            self.providers().store()?.delete(self.action, file).await?;
            self.stage(Stage::Deleted { path: file.path.clone() });
        }
        Ok(())
    }
}
