//! Renewal of the id certificate, with a new key.
//!
//! The answer may be lost, so the old key counts until the new one was used; then it never counts again.

use super::super::batch::Batch;
use super::super::message::{AgentReply, IssueCertificate, Renewed};
use super::super::record::PendingKey;
use super::super::{Domain, InstanceEventKind};
use super::registration::new_certificate;
use super::{Admitted, Denied, Taking, check_info, event};
use crate::protocol::{Entropy, PublicKey, RenewRequest};

impl Domain {
    pub(super) fn renew(
        &mut self,
        taking: &Taking<'_>,
        request: &RenewRequest,
        new_key: PublicKey,
        entropy: &mut Entropy,
        batch: &mut Batch,
    ) -> Result<AgentReply, Denied> {
        check_info(&request.info)?;
        let mut instance = self.admit(taking, &Admitted::Renew(new_key), batch)?;
        self.describe(&mut instance, &request.info, taking.caller, taking.now, batch);
        let known = instance.eval_used_s;
        self.note_evaluation(&mut instance, known, false, batch);
        let certificate = match &instance.pending {
            Some(pending) if pending.key == new_key => pending.certificate.clone(),
            Some(_) | None => {
                let certificate = new_certificate(taking.now, entropy);
                instance.pending = Some(Box::new(PendingKey { key: new_key, certificate: certificate.clone() }));
                batch.event(event(&instance, InstanceEventKind::Renewed, taking.now, certificate.serial.clone()));
                certificate
            }
        };
        let certificate = IssueCertificate { udi: instance.udi.clone(), key: new_key, certificate };
        let header = self.answer(&instance, taking);
        self.store(instance, batch);
        Ok(AgentReply::Renewed(Box::new(Renewed { header, certificate })))
    }
}
