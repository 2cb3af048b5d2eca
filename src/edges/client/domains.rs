//! Domains and certificates.

use super::calls::within;
use super::{Client, Result, escaped};
use crate::edges::api::types::{
    AuthorityView, CertificateItem, DomainItem, NameItem, NewCertificateBody, NewDomainBody, OrderBody, Page,
};

impl Client {
    pub async fn domains(&self, name: &str, environment: &str) -> Result<Page<DomainItem>> {
        self.get(within(name, environment, "/domains")).await
    }

    pub async fn add_domain(&self, name: &str, environment: &str, body: &NewDomainBody) -> Result<DomainItem> {
        self.call("POST", within(name, environment, "/domains"), Some(body)).await
    }

    pub async fn verify_domain(&self, name: &str, environment: &str, domain: &str) -> Result<DomainItem> {
        let path = within(name, environment, &format!("/domains/{}/verify", escaped(domain)));
        self.call("POST", path, None::<&()>).await
    }

    pub async fn remove_domain(&self, name: &str, environment: &str, domain: &str) -> Result<()> {
        let path = within(name, environment, &format!("/domains/{}", escaped(domain)));
        self.send("DELETE", path, None::<&()>).await.map(drop)
    }

    pub async fn certificates(&self, name: &str, environment: &str) -> Result<Page<CertificateItem>> {
        self.get(within(name, environment, "/certs")).await
    }

    pub async fn add_certificate(
        &self,
        name: &str,
        environment: &str,
        body: &NewCertificateBody,
    ) -> Result<CertificateItem> {
        self.call("POST", within(name, environment, "/certs"), Some(body)).await
    }

    pub async fn remove_certificate(&self, name: &str, environment: &str, id: &str) -> Result<()> {
        let path = within(name, environment, &format!("/certs/{}", escaped(id)));
        self.send("DELETE", path, None::<&()>).await.map(drop)
    }

    pub async fn certificate_names(&self, name: &str, environment: &str) -> Result<Page<NameItem>> {
        self.get(within(name, environment, "/certs/names")).await
    }

    pub async fn order_certificates(&self, name: &str, environment: &str, body: &OrderBody) -> Result<Page<NameItem>> {
        self.call("PUT", within(name, environment, "/certs/auto"), Some(body)).await
    }

    pub async fn authority(&self) -> Result<AuthorityView> {
        self.get("/v1/certs/authority".into()).await
    }
}
