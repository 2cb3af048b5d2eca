//! Pages of an app's own, in the place of those that the platform answers with where the app does not.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// When a page is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum PageKind {
    /// The app broke the connection off, or refused it.
    #[serde(rename = "502")]
    Broken,
    /// No replica can answer: stopped, starting, gone.
    #[serde(rename = "503")]
    Unavailable,
    /// The app did not begin its answer in time.
    #[serde(rename = "504")]
    Late,
    /// Maintenance is on.
    #[serde(rename = "maintenance")]
    Maintenance,
}

impl PageKind {
    pub const ALL: [Self; 4] = [Self::Broken, Self::Unavailable, Self::Late, Self::Maintenance];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Broken => "502",
            Self::Unavailable => "503",
            Self::Late => "504",
            Self::Maintenance => "maintenance",
        }
    }
}

impl fmt::Display for PageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no page of these: 502, 503, 504, maintenance")]
pub struct UnknownPage;

impl FromStr for PageKind {
    type Err = UnknownPage;

    fn from_str(text: &str) -> Result<Self, UnknownPage> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(UnknownPage)
    }
}

/// HTML. Cheap to clone: it goes with the rules from look to look.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct PageText(Arc<str>);

impl PageText {
    /// In bytes.
    pub const LONGEST: usize = 32 << 10;

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn fault(&self) -> Option<String> {
        let length = self.0.len();
        if length > Self::LONGEST {
            return Some(format!("has {length} bytes, the limit is {}", Self::LONGEST));
        }
        if self.0.trim().is_empty() {
            return Some("is empty".into());
        }
        self.0.contains('\0').then(|| "has a NUL character, so it is no text".into())
    }
}

impl From<String> for PageText {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<PageText> for String {
    fn from(page: PageText) -> Self {
        page.0.as_ref().to_owned()
    }
}

impl fmt::Debug for PageText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PageText({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_page_is_text_of_bounded_length_under_one_of_four_names() {
        let fault = |text: &str| PageText::from(text.to_owned()).fault();
        assert_eq!(fault("<h1>Back soon</h1>"), None);
        assert_eq!(fault(&"x".repeat(PageText::LONGEST)), None);
        for bad in [&"x".repeat(PageText::LONGEST + 1), "", " \n", "a\0b"] {
            assert!(fault(bad).is_some(), "{} bytes", bad.len());
        }
        for kind in PageKind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
            let pages = BTreeMap::from([(kind, PageText::from("é".to_owned()))]);
            let stored = serde_json::to_string(&pages).expect("JSON");
            assert_eq!(stored, format!(r#"{{"{kind}":"é"}}"#));
            assert_eq!(serde_json::from_str::<BTreeMap<PageKind, PageText>>(&stored).expect("it reads"), pages);
        }
        for name in ["404", "500", "", "Maintenance", "../503"] {
            assert!(name.parse::<PageKind>().is_err(), "{name}");
        }
    }
}
