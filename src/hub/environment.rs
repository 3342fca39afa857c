//! The variables by which people tell programs of their hubs: endpoints, tokens, caches, limits.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::HubError;
use super::repository::HubKind;
use crate::files;

const HUGGING_FACE: &str = "https://huggingface.co";
const MODEL_SCOPE: &str = "https://modelscope.cn";

/// No token is longer; another file may be named by mistake.
const TOKEN_BYTES_MAX: u64 = 4096;

/// How long a hub may say nothing; Python's client waits as long.
const SILENCE_DEFAULT: Duration = Duration::from_secs(10);
const SILENCE_MAX: Duration = Duration::from_secs(600);

/// What the environment says.
#[derive(Clone, Debug)]
pub struct HubEnvironment {
    pub hugging_face: HubAccess,
    pub model_scope: HubAccess,
    /// The variable that forbids every request, if one does.
    pub offline: Option<&'static str>,
    /// How long a hub may say nothing before a request counts as failed.
    pub silence_max: Duration,
    /// Certificates of authorities that are trusted in place of the ones in the program.
    pub certificates: Option<PathBuf>,
    /// Folders in which other programs keep such files.
    pub caches: Vec<PathBuf>,
}

/// Where a hub is, and who we are there.
#[derive(Clone, Default)]
pub struct HubAccess {
    /// Without a slash at its end.
    pub endpoint: String,
    pub token: Option<String>,
}

// A token is never printed.
impl std::fmt::Debug for HubAccess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let token = self.token.as_ref().map(|_| "...");
        f.debug_struct("HubAccess")
            .field("endpoint", &self.endpoint)
            .field("token", &token)
            .finish()
    }
}

/// Looks variables up; those that are empty count as not there.
struct Variables<'a>(&'a dyn Fn(&str) -> Option<OsString>);

impl Variables<'_> {
    fn text(&self, name: &str) -> Option<String> {
        let value = (self.0)(name)?.into_string().ok()?;
        Some(value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        let path = PathBuf::from((self.0)(name).filter(|value| !value.is_empty())?);
        match path.strip_prefix("~") {
            Ok(rest) => Some(self.home()?.join(rest)),
            Err(_) => Some(path),
        }
    }

    fn home(&self) -> Option<PathBuf> {
        (self.0)("HOME").filter(|home| !home.is_empty()).map(PathBuf::from)
    }

    /// As Hugging Face's own client reads them.
    fn is_true(&self, name: &str) -> bool {
        let word = self.text(name).unwrap_or_default().to_ascii_uppercase();
        ["1", "ON", "YES", "TRUE"].contains(&word.as_str())
    }
}

impl HubEnvironment {
    /// What the process's own environment says.
    pub fn read() -> Result<HubEnvironment, HubError> {
        HubEnvironment::of(&|name| std::env::var_os(name))
    }

    /// What the variables say that `look_up` knows.
    pub fn of(look_up: &dyn Fn(&str) -> Option<OsString>) -> Result<HubEnvironment, HubError> {
        let variables = Variables(look_up);
        let cache = variables
            .path("XDG_CACHE_HOME")
            .or_else(|| Some(variables.home()?.join(".cache")))
            .unwrap_or_default();
        let hf_home = variables.path("HF_HOME").unwrap_or_else(|| cache.join("huggingface"));
        let offline = ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"];
        let certificates = ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"];
        Ok(HubEnvironment {
            hugging_face: HubAccess {
                endpoint: endpoint(&variables, "HF_ENDPOINT", HUGGING_FACE)?,
                token: hf_token(&variables, &hf_home),
            },
            model_scope: HubAccess {
                endpoint: endpoint(&variables, "MODELSCOPE_ENDPOINT", MODEL_SCOPE)?,
                token: variables.text("MODELSCOPE_API_TOKEN"),
            },
            offline: offline.into_iter().find(|name| variables.is_true(name)),
            silence_max: silence_max(&variables)?,
            certificates: certificates.into_iter().find_map(|name| variables.path(name)),
            caches: caches(&variables, &cache, &hf_home),
        })
    }

    pub fn of_hub(&self, hub: HubKind) -> &HubAccess {
        match hub {
            HubKind::HuggingFace => &self.hugging_face,
            HubKind::ModelScope => &self.model_scope,
        }
    }
}

fn endpoint(variables: &Variables<'_>, name: &str, default: &str) -> Result<String, HubError> {
    let endpoint = variables.text(name).unwrap_or_else(|| default.to_owned());
    let endpoint = endpoint.trim_end_matches('/').to_owned();
    if endpoint.starts_with("https://") || endpoint.starts_with("http://") {
        return Ok(endpoint);
    }
    // ModelScope's own client takes a bare host.
    if !endpoint.contains("://") && name.starts_with("MODELSCOPE") {
        return Ok(format!("https://{endpoint}"));
    }
    Err(HubError::Refused(format!("{name} is \"{endpoint}\"; it must begin with https://")))
}

/// The token that Hugging Face's own client would send.
fn hf_token(variables: &Variables<'_>, hf_home: &Path) -> Option<String> {
    if variables.is_true("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
        return None;
    }
    let named = variables.text("HF_TOKEN").or_else(|| variables.text("HUGGING_FACE_HUB_TOKEN"));
    named.or_else(|| {
        let path = variables.path("HF_TOKEN_PATH").unwrap_or_else(|| hf_home.join("token"));
        let text = String::from_utf8(files::read_whole(&path, TOKEN_BYTES_MAX).ok()?).ok()?;
        Some(text.trim().to_owned()).filter(|token| !token.is_empty())
    })
}

fn silence_max(variables: &Variables<'_>) -> Result<Duration, HubError> {
    let name = "HF_HUB_DOWNLOAD_TIMEOUT";
    let Some(text) = variables.text(name) else { return Ok(SILENCE_DEFAULT) };
    match text.parse() {
        Ok(seconds @ 1..) => Ok(Duration::from_secs(seconds).min(SILENCE_MAX)),
        _ => Err(HubError::Refused(format!("{name} is \"{text}\"; it is a number of seconds"))),
    }
}

/// Where other programs may have such files; not all of these folders need to be there.
fn caches(variables: &Variables<'_>, cache: &Path, hf_home: &Path) -> Vec<PathBuf> {
    let hf_cache =
        variables.path("HF_HUB_CACHE").or_else(|| variables.path("HUGGINGFACE_HUB_CACHE"));
    let mut caches = vec![hf_cache.unwrap_or_else(|| hf_home.join("hub"))];
    // Below it lie both of ModelScope's layouts.
    caches.push(variables.path("MODELSCOPE_CACHE").unwrap_or_else(|| cache.join("modelscope")));
    caches.extend(variables.path("COMFYUI_PATH").map(|comfy| comfy.join("models")));
    let usual = ["ComfyUI/models", "comfy/ComfyUI/models", "Documents/ComfyUI/models"];
    if let Some(home) = variables.home() {
        caches.extend(usual.map(|folder| home.join(folder)));
    }
    let mut found: Vec<PathBuf> = Vec::new();
    for folder in caches.into_iter().filter_map(|folder| fs::canonicalize(folder).ok()) {
        if !found.contains(&folder) {
            found.push(folder);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<HubEnvironment, HubError> {
        HubEnvironment::of(&|name| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn endpoints_and_tokens_are_those_of_the_hubs_own_clients() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().to_str().unwrap();
        let nothing = of(&[("HOME", path), ("HF_TOKEN", " ")]).unwrap();
        assert_eq!(nothing.hugging_face.endpoint, "https://huggingface.co");
        assert_eq!(nothing.model_scope.endpoint, "https://modelscope.cn");
        assert_eq!((nothing.hugging_face.token, nothing.offline), (None, None));
        fs::create_dir_all(home.path().join(".cache/huggingface")).unwrap();
        fs::write(home.path().join(".cache/huggingface/token"), "hf_file\n").unwrap();
        let token = |more: &[(&str, &str)]| {
            of(&[&[("HOME", path)], more].concat()).unwrap().hugging_face.token
        };
        assert_eq!(token(&[]).as_deref(), Some("hf_file"));
        assert_eq!(token(&[("HF_TOKEN", "hf_own")]).as_deref(), Some("hf_own"));
        assert_eq!(token(&[("HF_HUB_DISABLE_IMPLICIT_TOKEN", "yes")]), None);
        assert_eq!(token(&[("HF_TOKEN_PATH", "/nowhere")]), None);
        let mirror = of(&[("HF_ENDPOINT", "https://hf.example/"), ("MODELSCOPE_ENDPOINT", "m.ai")]);
        let mirror = mirror.unwrap();
        assert_eq!(mirror.hugging_face.endpoint, "https://hf.example");
        assert_eq!(mirror.model_scope.endpoint, "https://m.ai");
        let error = of(&[("HF_ENDPOINT", "hf.example")]).unwrap_err().to_string();
        assert!(error.contains("HF_ENDPOINT") && error.contains("https://"), "{error}");
        let printed = format!("{:?}", of(&[("HF_TOKEN", "secret")]).unwrap());
        assert!(!printed.contains("secret"), "{printed}");
    }

    #[test]
    fn either_word_for_offline_counts_and_only_when_it_is_true() {
        assert_eq!(
            of(&[("TRANSFORMERS_OFFLINE", "1")]).unwrap().offline,
            Some("TRANSFORMERS_OFFLINE")
        );
        assert_eq!(of(&[("HF_HUB_OFFLINE", "on")]).unwrap().offline, Some("HF_HUB_OFFLINE"));
        assert_eq!(of(&[("HF_HUB_OFFLINE", "0")]).unwrap().offline, None);
    }

    #[test]
    fn caches_are_looked_for_where_other_programs_keep_them() {
        let home = tempfile::tempdir().unwrap();
        let home = fs::canonicalize(home.path()).unwrap();
        for folder in ["hub", "ms", "comfy/models", "ComfyUI/models", ".cache/modelscope"] {
            fs::create_dir_all(home.join(folder)).unwrap();
        }
        let path = |name: &str| home.join(name).to_str().unwrap().to_owned();
        let found = of(&[
            ("HOME", &path("")),
            ("HF_HUB_CACHE", "~/hub"),
            ("MODELSCOPE_CACHE", &path("ms")),
            ("COMFYUI_PATH", &path("comfy")),
        ]);
        let expected = ["hub", "ms", "comfy/models", "ComfyUI/models"].map(|name| home.join(name));
        assert_eq!(found.unwrap().caches, expected);
        let usual = of(&[("HOME", &path(""))]).unwrap().caches;
        assert_eq!(usual, [".cache/modelscope", "ComfyUI/models"].map(|name| home.join(name)));
    }

    #[test]
    fn the_time_out_is_that_of_hugging_faces_client() {
        assert_eq!(of(&[]).unwrap().silence_max, Duration::from_secs(10));
        let of = |text| of(&[("HF_HUB_DOWNLOAD_TIMEOUT", text)]);
        assert_eq!(of("30").unwrap().silence_max, Duration::from_secs(30));
        assert!(of("0").is_err() && of("long").is_err());
    }
}
