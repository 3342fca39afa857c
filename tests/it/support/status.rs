//! What `zimaged status` says of the daemon, waited for.

use super::House;

impl House {
    /// Waits until the model has left the device, and the worker with it.
    pub fn until_released(&self) {
        self.until("the model has left the device", || {
            (self.json(&["status"])["daemon"]["worker"]["state"] == "released").then_some(())
        });
    }

    /// Waits until nothing is started that wants `model`; why.
    pub fn until_held(&self, model: &str) -> String {
        self.until("the model is held", || {
            let status = self.json(&["status"]);
            let all = status["daemon"]["held_models"].as_array()?;
            let held = all.iter().find(|held| held["model"] == model)?;
            Some(held["reason"].as_str()?.to_owned())
        })
    }
}
