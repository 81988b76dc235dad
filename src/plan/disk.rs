//! Disks without a machine: kept on purpose, or left by a machine that vanished; booted again, or let go.

use serde::Serialize;

use super::{Blocked, Draft, Fresh, Kind, Living, Note};
use crate::error::Result;
use crate::facts::{Money, Status, Volume};
use crate::guard::Discard;
use crate::record::{self, Disk};

/// What is left of a machine that vanished.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LostDisk {
    /// The volume's id.
    pub volume: String,
    /// Its name.
    pub name: String,
    /// Its size in GB.
    pub size_gb: u32,
    /// What it costs per hour while it isn't in the trash.
    pub price_per_hour: Money,
    /// The same per month.
    pub price_per_month: Money,
    /// Whether it is in the trash, where it costs nothing.
    pub in_trash: bool,
    /// Until when it can be restored, in the trash and where the cloud says.
    pub purged_at: Option<jiff::Timestamp>,
}

/// Where a volume is.
enum Found<'a> {
    There(&'a Volume),
    Trashed(&'a Volume),
}

impl<'a> Found<'a> {
    fn volume(&self) -> &'a Volume {
        match self {
            Self::There(volume) | Self::Trashed(volume) => volume,
        }
    }
}

impl<'a> Draft<'a> {
    /// The disk that waits for its next machine, unless its loss was named.
    pub(super) fn waiting_disk(&self) -> Option<&'a Disk> {
        let named = |disk: &&Disk| self.request.discards.contains(&Discard::Volume(disk.volume.clone()));
        self.observed.record.disk.as_ref().filter(|disk| !named(disk))
    }

    /// Lets go of a waiting disk that was named as a loss, before another machine is made.
    pub(super) fn let_go_of_named_disk(&mut self) {
        let waiting = self.observed.record.disk.as_ref();
        let Some(disk) = waiting.filter(|_| self.waiting_disk().is_none()) else { return };
        let found = self.find(|volume| volume.id == disk.volume);
        let name = found.map_or_else(String::new, |found| found.volume().name.clone());
        self.add(Kind::DeleteVolume { volume: disk.volume.clone(), name });
    }

    /// Plans for a machine that boots the waiting disk.
    pub(super) fn boot(&mut self, disk: &'a Disk) -> Result<Fresh> {
        match self.find(|volume| volume.id == disk.volume) {
            None => {
                self.plan.blocked.push(Blocked::DiskGone { volume: disk.volume.clone() });
                return Ok(Fresh::Unknown);
            }
            Some(Found::Trashed(volume)) => self.restore(volume),
            Some(Found::There(_)) => {}
        }
        self.create_with(disk)?;
        Ok(Fresh::Unknown)
    }

    /// A machine vanished without our doing: what it left is booted again; without a disk it is lost.
    pub(super) fn recover(&mut self, living: Living<'a>) -> Result<Fresh> {
        let Some(found) = self.disk_of_gone(living) else {
            self.lost(living);
            return Ok(Fresh::Unknown);
        };
        let volume = found.volume();
        if matches!(found, Found::Trashed(_)) {
            self.restore(volume);
        }
        let location = living.instance.location.clone();
        self.add(Kind::Recover {
            machine: living.rented.id.clone(),
            volume: volume.id.clone(),
            location: location.clone(),
        });
        let (asked, base) = (living.rented.asked.clone(), living.rented.base.clone());
        let host_key = living.rented.disk_key();
        self.create_with(&Disk { volume: volume.id.clone(), location, asked, host_key, base })?;
        Ok(Fresh::Unknown)
    }

    pub(super) fn lost(&mut self, living: Living<'a>) {
        let disk = self.disk_of_gone(living).map(|found| {
            let (volume, in_trash) = (found.volume(), matches!(found, Found::Trashed(_)));
            LostDisk {
                volume: volume.id.clone(),
                name: volume.name.clone(),
                size_gb: volume.size_gb,
                price_per_hour: volume.price_per_hour,
                price_per_month: volume.price_per_month,
                in_trash,
                purged_at: volume.purged_at(),
            }
        });
        let commit = living.rented.base.commit.clone();
        self.plan.blocked.push(Blocked::Lost { machine: living.rented.id.clone(), commit, disk });
    }

    /// Plans for the machine to go and its disk to stay. What runs on it would be lost; nothing else.
    pub(super) fn keep_disk(&mut self, living: Living<'a>) {
        self.judge_kept();
        let volume = living.instance.os_volume.clone();
        let listed = volume.as_ref().and_then(|id| self.observed.cloud.volumes.iter().find(|v| v.id == *id));
        if let Some(listed) = listed {
            self.note(kept(listed));
        }
        self.add(Kind::KeepDisk { machine: living.rented.id.clone(), volume });
    }

    /// Tells whether a volume without a machine is the one that waits, and says what it costs if it stays so.
    pub(super) fn note_waiting(&mut self, volume: &Volume) -> bool {
        let booted = self.plan.actions.iter().any(|action| match action.kind() {
            Kind::Create { boots, .. } => boots.as_ref() == Some(&volume.id),
            _ => false,
        });
        let waits = self.waiting_disk().is_some_and(|disk| disk.volume == volume.id);
        if waits && !booted {
            self.note(kept(volume));
        }
        waits || booted
    }

    /// Plans for what went into the trash with this session's machines to go for good, where that was asked.
    pub(super) fn purge(&mut self) {
        let record = &self.observed.record;
        let ended = |volume: &&Volume| {
            self.observed.owns_tags(&volume.tags)
                && record.ended.as_ref().is_some_and(|ended| ended.volumes.contains(&volume.id))
        };
        let trash = self.observed.cloud.trash.iter().flatten();
        let mut volumes: Vec<&Volume> = trash.filter(|_| self.request.purge).filter(ended).collect();
        volumes.sort_by_key(|volume| &volume.id);
        for volume in volumes {
            self.add(Kind::Purge { volume: volume.id.clone(), name: volume.name.clone() });
        }
    }

    fn restore(&mut self, volume: &Volume) {
        self.add(Kind::RestoreVolume { volume: volume.id.clone(), name: volume.name.clone() });
    }

    /// The vanished machine's disk: by the cloud's own word, by the record's, by the tags of its creation.
    fn disk_of_gone(&self, living: Living<'a>) -> Option<Found<'a>> {
        let Living { rented, instance } = living;
        let booted = rented.booted.as_ref().map(|disk| &disk.volume);
        let named = [instance.os_volume.as_ref(), rented.os_volume.as_ref(), booted];
        if let Some(found) = self.find(|volume| named.contains(&Some(&volume.id))) {
            return Some(found);
        }
        let nonce = rented.nonce.as_ref()?;
        let tagged = |volume: &Volume| {
            self.observed.owns_tags(&volume.tags) && volume.tags.get(record::TAG_NONCE) == Some(nonce)
        };
        self.find(tagged)
    }

    fn find(&self, wanted: impl Fn(&Volume) -> bool) -> Option<Found<'a>> {
        let cloud = &self.observed.cloud;
        let there =
            |volume: &&Volume| wanted(volume) && !matches!(volume.status.as_str(), "deleted" | "deleting");
        let free = |volume: &&Volume| {
            !cloud
                .instances
                .iter()
                .any(|other| other.status != Status::Discontinued && other.volumes.contains(&volume.id))
        };
        let listed = cloud.volumes.iter().filter(there).find(free).map(Found::There);
        listed.or_else(|| cloud.trash.iter().flatten().find(|volume| wanted(volume)).map(Found::Trashed))
    }
}

fn kept(volume: &Volume) -> Note {
    Note::KeptDisk {
        id: volume.id.clone(),
        name: volume.name.clone(),
        price_per_hour: volume.price_per_hour,
        price_per_month: volume.price_per_month,
    }
}
