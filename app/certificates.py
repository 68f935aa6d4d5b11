"""The only writer of certificates: one for each completed deletion, signed once and then served as it is."""

import json

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app import audit, clock
from app.access import DEFAULT_TENANT
from app.certificate import (
    SALT,
    AdapterStated,
    AuditAnchor,
    BaseModelUsed,
    ForgetSet,
    Measured,
    MethodStated,
    Statement,
    digest,
    limits,
    public_jwk,
    sign,
)
from app.errors import CertificateNotReady, CommitmentPurged
from app.models import Artefact, ArtefactKind, AuditHead, Certificate, Deletion, Model, Outcome, SigningKey, Status
from app.records import Records
from app.report import Figures
from app.schemas import Thresholds
from app.storage import Store
from app.vault import hold, keep, present_epoch

CONFIG = "adapter_config.json"
_PRESENT = select(SigningKey.id).where(SigningKey.retired_at.is_(None))


class Certificates:
    """Issues certificates, and keeps the keys that sign them."""

    def __init__(self, records: Records, store: Store) -> None:
        self._database = records.database
        self._keys = records.keys
        self._vault = records.vault
        self._sealer = records.sealer
        self._store = store

    def of(self, row: Deletion) -> bytes:
        """The certificate in canonical JSON, issued now if it has not been; raises CertificateNotReady."""
        if row.status is not Status.COMPLETED or row.figures is None or row.commitment is None:
            raise CertificateNotReady(f"It is {row.status}.")
        if (body := self._issued(row.id)) is not None:
            return body
        adapter = self._adapter(row)
        self._found_key()
        try:
            return self._issue(row, adapter)
        except IntegrityError:  # another process was faster
            issued = self._issued(row.id)
            assert issued is not None
            return issued

    def salt(self, row: Deletion) -> str:
        """What opens the certificate's commitment, in hex; raises CommitmentPurged."""
        if row.wrapped_key is None:
            raise CommitmentPurged
        return self._sealer.derive(row.wrapped_key, row.id, SALT).hex()

    def jwks(self) -> dict[str, list[dict[str, str]]]:
        """Every public key that has ever signed, the present one first."""
        self._found_key()
        with self._database.read() as session:
            newest = select(SigningKey).order_by(SigningKey.retired_at.is_not(None), SigningKey.created_at.desc())
            return {"keys": [dict(key.jwk) for key in session.scalars(newest)]}

    def rotate(self) -> str:
        """Sign with a new key from now on; the old private key is destroyed, its public key stays. The new key id."""
        self._found_key()
        with self._database.write() as session:
            hold(session, shared=False)
            now = clock.now()
            old = update(SigningKey).where(SigningKey.retired_at.is_(None)).values(retired_at=now)
            for key_id in session.scalars(old.returning(SigningKey.id)).all():
                self._vault.destroy(session, f"signing:{key_id}")
            key_id = self._make_key(session)
            audit.record(session, now, DEFAULT_TENANT, "operator", "signing_key.rotated", key=key_id)
            return key_id

    def _issued(self, deletion_id: str) -> bytes | None:
        with self._database.read() as session:
            return session.scalar(select(Certificate.body).where(Certificate.deletion_id == deletion_id))

    def _issue(self, row: Deletion, adapter: AdapterStated | None) -> bytes:
        with self._database.write() as session:
            hold(session, shared=True)  # nobody puts another key in the present one's place meanwhile
            key_id, now = session.scalars(_PRESENT).one(), clock.now()
            private = Ed25519PrivateKey.from_private_bytes(self._vault.passing(session, f"signing:{key_id}"))
            model = session.get(Model, row.model)
            head = session.scalars(select(AuditHead).where(audit.HEAD)).one()
            anchor = AuditAnchor(sequence=head.sequence, hash=head.hash)
            body = sign(_statement(row, model.revision if model else None, adapter, anchor), private)
            session.add(Certificate(deletion_id=row.id, key_id=key_id, issued_at=now, body=body))
            audit.record(session, now, row.tenant, "certifier", "certificate.issued", row.id, key=key_id)
        return body

    def _adapter(self, row: Deletion) -> AdapterStated | None:
        """What the published adapter is; None for a deletion without one. Raises CertificateNotReady."""
        with self._database.read() as session:
            files = session.scalars(select(Artefact).where(Artefact.deletion_id == row.id)).all()
        zipped = next((file for file in files if file.kind is ArtefactKind.ADAPTER), None)
        config = next((file for file in files if file.name == CONFIG), None)
        if zipped is None or config is None:
            if row.outcome is Outcome.FORGOTTEN:  # nobody can say any more what was published
                raise CertificateNotReady("Its adapter is gone, and no certificate could be issued while it was there.")
            return None
        read = json.loads(b"".join(self._store.read(config.path, 0, config.size)))
        return AdapterStated(
            sha256=zipped.sha256, bytes=zipped.size, rank=read["r"], modules=sorted(read["target_modules"])
        )

    def _found_key(self) -> None:
        """Make the first signing key, unless there is one."""
        with self._database.read() as session:
            found = session.scalar(_PRESENT) is not None
        if not found:
            with self._database.write() as session:
                hold(session, shared=False)
                if session.scalar(_PRESENT) is None:
                    self._make_key(session)

    def _make_key(self, session: Session) -> str:
        private, now = Ed25519PrivateKey.generate(), clock.now()
        jwk = public_jwk(private.public_key())
        key = self._keys.of(present_epoch(session))
        keep(session, key, f"signing:{jwk['kid']}", private.private_bytes_raw(), now)
        session.add(SigningKey(id=jwk["kid"], jwk=jwk, created_at=now))
        return jwk["kid"]


def _statement(row: Deletion, revision: str | None, adapter: AdapterStated | None, head: AuditAnchor) -> Statement:
    figures = Figures.model_validate_json(json.dumps(row.figures))
    method = figures.method
    assert row.finished_at is not None
    assert row.outcome is not None
    assert row.commitment is not None
    return Statement(
        deletion_id=row.id,
        tenant=row.tenant,
        received_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        due_at=row.due_at,
        issued_at=clock.now(),
        legal_basis=row.legal_basis,
        outcome=row.outcome,
        approved_by_operator=row.approved,
        base_model=BaseModelUsed(id=row.model, revision=revision, weights_digest=method.model_digest),
        method=MethodStated(
            name=method.method,
            settings_digest=digest(method.settings),
            seed=method.seed,
            versions=method.versions,
            decoder_digest=method.decoder_digest,
            curvature_digest=method.curvature_digest,
        ),
        forget_set=ForgetSet(commitment=row.commitment, size=row.target_count),
        adapter=adapter,
        measured=Measured.model_validate(figures.model_dump(include=set(Measured.model_fields))),
        thresholds=Thresholds.model_validate_json(json.dumps(row.thresholds)),
        verdict=figures.verdict,
        limits=limits(method.settings.get("merged")),
        audit_head=head,
    )
