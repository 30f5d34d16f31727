"""Every write of accounts that carries a rule, by what it is about."""

from accounts.devices import Device
from accounts.services.api_keys import issue_api_key, revoke_api_key
from accounts.services.emails import (
    close_account,
    confirm_email,
    forget_proofs,
    mail_proofs,
    request_change,
    request_resend,
    request_reset,
    request_sign_up,
    request_verification,
    reset_password,
    restore_account,
)
from accounts.services.erasure import close_and_erase, erase_account, erase_person, erase_user, purge_users
from accounts.services.exports import (
    forget_exports,
    make_exports,
    open_export,
    personal_data,
    request_export,
)
from accounts.services.factors import (
    add_passkey,
    begin_passkey,
    begin_totp,
    confirm_totp,
    new_recovery_codes,
    provisioning_uri,
    remove_passkey,
    remove_totp,
    rename_passkey,
    reset_factors,
)
from accounts.services.identities import begin_oidc, connect_identity, disconnect_identity, sign_in_by_oidc
from accounts.services.impersonation import begin_impersonation, fetch_impersonation
from accounts.services.people import (
    change_account,
    change_user,
    create_user,
    delete_user,
    register_user,
    restore_user,
    set_active,
    set_password,
)
from accounts.services.roles import (
    ADMIN,
    BUILT_IN,
    USER,
    change_role,
    create_role,
    delete_role,
    ensure_admin,
    keep_an_admin,
    set_roles,
    upsert_roles,
)
from accounts.services.sessions import (
    close_all_sessions,
    close_other_sessions,
    close_session,
    describe,
    end_sessions,
    open_session,
    rotate_session,
    tell,
)
from accounts.services.sign_in import (
    begin_passkey_proof,
    begin_passkey_sign_in,
    check_credentials,
    check_factor,
    finish_first_step,
    finish_mfa,
    passkey_user,
    prove_again,
    sign_in_by_passkey,
)
from core.preconditions import IfMatch

ANY = IfMatch(None)  # staff act on what they see, whatever its version
