-- A transfer holds the rows of both owners until its commit. So once the rows of the owners are locked, and -- the owners are still the same, a transfer either has committed, or counts after this change. LOOP owners := ARRAY(SELECT DISTINCT owner_id FROM sites_site WHERE id = ANY (changed_sites) ORDER BY 1);
ALTER TABLE ONLY public.accounts_apikey ADD CONSTRAINT accounts_apikey_owner_id_2be2fe13_fk_accounts_user_id FOREIGN KEY (owner_id) REFERENCES public.accounts_user(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.accounts_apikey ADD CONSTRAINT accounts_apikey_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.accounts_apikey ADD CONSTRAINT accounts_apikey_prefix_key UNIQUE (prefix);
ALTER TABLE ONLY public.accounts_dataexport ADD CONSTRAINT accounts_dataexport_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.accounts_dataexport ADD CONSTRAINT accounts_dataexport_user_id_1c3468c6_fk_accounts_user_id FOREIGN KEY (user_id) REFERENCES public.accounts_user(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.accounts_emailproof ADD CONSTRAINT accounts_emailproof_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.accounts_emailproof ADD CONSTRAINT accounts_emailproof_user_id_c3b1bccb_fk_accounts_user_id FOREIGN KEY (user_id) REFERENCES public.accounts_user(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.accounts_identity ADD CONSTRAINT accounts_identity_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.accounts_identity ADD CONSTRAINT accounts_identity_user_id_f7ddf146_fk_accounts_user_id FOREIGN KEY (user_id) REFERENCES public.accounts_user(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.accounts_passkey ADD CONSTRAINT accounts_passkey_credential_id_key UNIQUE (credential_id);
ALTER TABLE ONLY public.accounts_passkey ADD CONSTRAINT accounts_passkey_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.accounts_passkey ADD CONSTRAINT accounts_passkey_user_id_f8f562b4_fk_accounts_user_id FOREIGN KEY (user_id) REFERENCES public.accounts_user(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.accounts_recoverycode ADD CONSTRAINT accounts_recoverycode_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.accounts_recoverycode ADD CONSTRAINT accounts_recoverycode_user_id_994761d3_fk_accounts_user_id FOREIGN KEY (user_id) REFERENCES public.accounts_user(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.accounts_role ADD CONSTRAINT accounts_role_name_key UNIQUE (name);
ALTER TABLE ONLY public.accounts_role ADD CONSTRAINT accounts_role_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.accounts_session ADD CONSTRAINT accounts_session_impersonator_id_7861b857_fk_accounts_user_id FOREIGN KEY (impersonator_id) REFERENCES public.accounts_user(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.accounts_session ADD CONSTRAINT accounts_session_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.accounts_session ADD CONSTRAINT accounts_session_user_id_d5aaed01_fk_accounts_user_id FOREIGN KEY (user_id) REFERENCES public.accounts_user(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.accounts_spentchallenge ADD CONSTRAINT accounts_spentchallenge_pkey PRIMARY KEY (nonce);
ALTER TABLE ONLY public.accounts_totp ADD CONSTRAINT accounts_totp_pkey PRIMARY KEY (user_id);
ALTER TABLE ONLY public.accounts_totp ADD CONSTRAINT accounts_totp_user_id_f8b1d7a6_fk_accounts_user_id FOREIGN KEY (user_id) REFERENCES public.accounts_user(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.accounts_user ADD CONSTRAINT accounts_user_email_key UNIQUE (email);
ALTER TABLE ONLY public.accounts_user ADD CONSTRAINT accounts_user_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.accounts_user_roles ADD CONSTRAINT accounts_user_roles_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.accounts_user_roles ADD CONSTRAINT accounts_user_roles_role_id_3be0e909_fk_accounts_role_id FOREIGN KEY (role_id) REFERENCES public.accounts_role(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.accounts_user_roles ADD CONSTRAINT accounts_user_roles_user_id_5c537963_fk_accounts_user_id FOREIGN KEY (user_id) REFERENCES public.accounts_user(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.accounts_user_roles ADD CONSTRAINT accounts_user_roles_user_id_role_id_d36f9c32_uniq UNIQUE (user_id, role_id);
ALTER TABLE ONLY public.analytics_annotation ADD CONSTRAINT analytics_annotation_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.analytics_annotation ADD CONSTRAINT analytics_annotation_site_id_c7ffcbc6_fk_sites_site_id FOREIGN KEY (site_id) REFERENCES public.sites_site(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.analytics_annotation FORCE ROW LEVEL SECURITY;
ALTER TABLE ONLY public.analytics_cursor ADD CONSTRAINT analytics_cursor_pkey PRIMARY KEY (shard);
ALTER TABLE ONLY public.analytics_day ADD CONSTRAINT analytics_day_pkey PRIMARY KEY (site_number, day, dimension, term);
ALTER TABLE ONLY public.analytics_definition ADD CONSTRAINT analytics_definition_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.analytics_definition ADD CONSTRAINT analytics_definition_site_id_ad13bedd_fk_sites_site_id FOREIGN KEY (site_id) REFERENCES public.sites_site(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.analytics_definition FORCE ROW LEVEL SECURITY;
ALTER TABLE ONLY public.analytics_directevent ADD CONSTRAINT analytics_directevent_pkey PRIMARY KEY (site_number, event_id);
ALTER TABLE ONLY public.analytics_drop ADD CONSTRAINT analytics_drop_pkey PRIMARY KEY (site_number, hour, reason);
ALTER TABLE ONLY public.analytics_hour ADD CONSTRAINT analytics_hour_pkey PRIMARY KEY (site_number, hour);
ALTER TABLE ONLY public.analytics_salt ADD CONSTRAINT analytics_salt_pkey PRIMARY KEY (site_number, day);
ALTER TABLE ONLY public.analytics_settings ADD CONSTRAINT analytics_settings_pkey PRIMARY KEY (site_id);
ALTER TABLE ONLY public.analytics_settings ADD CONSTRAINT analytics_settings_site_id_49fc115c_fk_sites_site_id FOREIGN KEY (site_id) REFERENCES public.sites_site(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.analytics_settings FORCE ROW LEVEL SECURITY;
ALTER TABLE ONLY public.analytics_share ADD CONSTRAINT analytics_share_author_id_22a4776d_fk_accounts_user_id FOREIGN KEY (author_id) REFERENCES public.accounts_user(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.analytics_share ADD CONSTRAINT analytics_share_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.analytics_share ADD CONSTRAINT analytics_share_site_id_0ea6fa53_fk_sites_site_id FOREIGN KEY (site_id) REFERENCES public.sites_site(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.analytics_share FORCE ROW LEVEL SECURITY;
ALTER TABLE ONLY public.analytics_subscription ADD CONSTRAINT analytics_subscription_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.analytics_subscription ADD CONSTRAINT analytics_subscription_site_id_66fb0689_fk_sites_site_id FOREIGN KEY (site_id) REFERENCES public.sites_site(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.analytics_subscription ADD CONSTRAINT analytics_subscription_user_id_0c969466_fk_accounts_user_id FOREIGN KEY (user_id) REFERENCES public.accounts_user(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.analytics_subscription FORCE ROW LEVEL SECURITY;
ALTER TABLE ONLY public.analytics_term ADD CONSTRAINT analytics_term_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.audit_checkpoint ADD CONSTRAINT audit_checkpoint_pkey PRIMARY KEY (number);
ALTER TABLE ONLY public.audit_entry ADD CONSTRAINT audit_entry_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.audit_logline ADD CONSTRAINT audit_logline_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.audit_pending ADD CONSTRAINT audit_pending_pkey PRIMARY KEY (entry_id);
ALTER TABLE ONLY public.audit_personal ADD CONSTRAINT audit_personal_pkey PRIMARY KEY (entry_id, field);
ALTER TABLE ONLY public.audit_seal ADD CONSTRAINT audit_seal_entry_id_key UNIQUE (entry_id);
ALTER TABLE ONLY public.audit_seal ADD CONSTRAINT audit_seal_pkey PRIMARY KEY (number);
ALTER TABLE ONLY public.audit_stub ADD CONSTRAINT audit_stub_pkey PRIMARY KEY (partition);
ALTER TABLE ONLY public.auth_group ADD CONSTRAINT auth_group_name_key UNIQUE (name);
ALTER TABLE ONLY public.auth_group ADD CONSTRAINT auth_group_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.auth_group_permissions ADD CONSTRAINT auth_group_permissio_permission_id_84c5c92e_fk_auth_perm FOREIGN KEY (permission_id) REFERENCES public.auth_permission(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.auth_group_permissions ADD CONSTRAINT auth_group_permissions_group_id_b120cbf9_fk_auth_group_id FOREIGN KEY (group_id) REFERENCES public.auth_group(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.auth_group_permissions ADD CONSTRAINT auth_group_permissions_group_id_permission_id_0cd325b0_uniq UNIQUE (group_id, permission_id);
ALTER TABLE ONLY public.auth_group_permissions ADD CONSTRAINT auth_group_permissions_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.auth_permission ADD CONSTRAINT auth_permission_content_type_id_2f476e4b_fk_django_co FOREIGN KEY (content_type_id) REFERENCES public.django_content_type(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.auth_permission ADD CONSTRAINT auth_permission_content_type_id_codename_01ab375a_uniq UNIQUE (content_type_id, codename);
ALTER TABLE ONLY public.auth_permission ADD CONSTRAINT auth_permission_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.backups_backuprun ADD CONSTRAINT backups_backuprun_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.backups_backupstate ADD CONSTRAINT backups_backupstate_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.backups_check ADD CONSTRAINT backups_check_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.backups_check ADD CONSTRAINT backups_check_run_id_050f2475_fk_backups_backuprun_id FOREIGN KEY (run_id) REFERENCES public.backups_backuprun(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.backups_siterestore ADD CONSTRAINT backups_siterestore_made_id_38e9811c_fk_sites_site_id FOREIGN KEY (made_id) REFERENCES public.sites_site(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.backups_siterestore ADD CONSTRAINT backups_siterestore_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.backups_siterestore ADD CONSTRAINT backups_siterestore_run_id_ca48bb55_fk_backups_backuprun_id FOREIGN KEY (run_id) REFERENCES public.backups_backuprun(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.backups_tombstone ADD CONSTRAINT backups_tombstone_pkey PRIMARY KEY (person);
ALTER TABLE ONLY public.core_idempotentresponse ADD CONSTRAINT core_idempotentresponse_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.core_mail ADD CONSTRAINT core_mail_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.core_periodicslot ADD CONSTRAINT core_periodicslot_pkey PRIMARY KEY (job);
ALTER TABLE ONLY public.core_storageusage ADD CONSTRAINT core_storageusage_owner_id_276a9475_fk_accounts_user_id FOREIGN KEY (owner_id) REFERENCES public.accounts_user(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.core_storageusage ADD CONSTRAINT core_storageusage_pkey PRIMARY KEY (owner_id);
ALTER TABLE ONLY public.django_admin_log ADD CONSTRAINT django_admin_log_content_type_id_c4bce8eb_fk_django_co FOREIGN KEY (content_type_id) REFERENCES public.django_content_type(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.django_admin_log ADD CONSTRAINT django_admin_log_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.django_admin_log ADD CONSTRAINT django_admin_log_user_id_c564eba6_fk_accounts_user_id FOREIGN KEY (user_id) REFERENCES public.accounts_user(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.django_content_type ADD CONSTRAINT django_content_type_app_label_model_76bd3d3b_uniq UNIQUE (app_label, model);
ALTER TABLE ONLY public.django_content_type ADD CONSTRAINT django_content_type_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.django_migrations ADD CONSTRAINT django_migrations_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.django_session ADD CONSTRAINT django_session_pkey PRIMARY KEY (session_key);
ALTER TABLE ONLY public.sites_access ADD CONSTRAINT sites_access_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.sites_access ADD CONSTRAINT sites_access_site_id_3fec85b6_fk_sites_site_id FOREIGN KEY (site_id) REFERENCES public.sites_site(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.sites_access ADD CONSTRAINT sites_access_user_id_aacf6dab_fk_accounts_user_id FOREIGN KEY (user_id) REFERENCES public.accounts_user(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.sites_announcement ADD CONSTRAINT sites_announcement_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.sites_announcement ADD CONSTRAINT sites_announcement_site_id_c6d0ea72_fk_sites_site_id FOREIGN KEY (site_id) REFERENCES public.sites_site(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.sites_announcement FORCE ROW LEVEL SECURITY;
ALTER TABLE ONLY public.sites_draft ADD CONSTRAINT sites_draft_author_id_6ebb3abf_fk_accounts_user_id FOREIGN KEY (author_id) REFERENCES public.accounts_user(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.sites_draft ADD CONSTRAINT sites_draft_pkey PRIMARY KEY (site_id);
ALTER TABLE ONLY public.sites_draft ADD CONSTRAINT sites_draft_site_id_3cad9084_fk_sites_site_id FOREIGN KEY (site_id) REFERENCES public.sites_site(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.sites_draft FORCE ROW LEVEL SECURITY;
ALTER TABLE ONLY public.sites_formerslug ADD CONSTRAINT sites_formerslug_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.sites_formerslug ADD CONSTRAINT sites_formerslug_post_id_2668d815_fk_sites_post_id FOREIGN KEY (post_id) REFERENCES public.sites_post(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.sites_formerslug ADD CONSTRAINT sites_formerslug_site_id_d81aa19c_fk_sites_site_id FOREIGN KEY (site_id) REFERENCES public.sites_site(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.sites_formerslug FORCE ROW LEVEL SECURITY;
ALTER TABLE ONLY public.sites_invitation ADD CONSTRAINT sites_invitation_author_id_b2396089_fk_accounts_user_id FOREIGN KEY (author_id) REFERENCES public.accounts_user(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.sites_invitation ADD CONSTRAINT sites_invitation_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.sites_invitation ADD CONSTRAINT sites_invitation_site_id_784ff9d4_fk_sites_site_id FOREIGN KEY (site_id) REFERENCES public.sites_site(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.sites_invitation FORCE ROW LEVEL SECURITY;
ALTER TABLE ONLY public.sites_post ADD CONSTRAINT sites_post_author_id_9f50b95a_fk_accounts_user_id FOREIGN KEY (author_id) REFERENCES public.accounts_user(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.sites_post ADD CONSTRAINT sites_post_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.sites_post ADD CONSTRAINT sites_post_site_id_d4cf2861_fk_sites_site_id FOREIGN KEY (site_id) REFERENCES public.sites_site(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.sites_post FORCE ROW LEVEL SECURITY;
ALTER TABLE ONLY public.sites_preview ADD CONSTRAINT sites_preview_author_id_175bd60e_fk_accounts_user_id FOREIGN KEY (author_id) REFERENCES public.accounts_user(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.sites_preview ADD CONSTRAINT sites_preview_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.sites_preview ADD CONSTRAINT sites_preview_post_id_6adf9968_fk_sites_post_id FOREIGN KEY (post_id) REFERENCES public.sites_post(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.sites_preview ADD CONSTRAINT sites_preview_revision_id_118b79ff_fk_sites_revision_id FOREIGN KEY (revision_id) REFERENCES public.sites_revision(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.sites_preview ADD CONSTRAINT sites_preview_site_id_3c55b229_fk_sites_site_id FOREIGN KEY (site_id) REFERENCES public.sites_site(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.sites_preview FORCE ROW LEVEL SECURITY;
ALTER TABLE ONLY public.sites_release ADD CONSTRAINT sites_release_author_id_4b6e2bff_fk_accounts_user_id FOREIGN KEY (author_id) REFERENCES public.accounts_user(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.sites_release ADD CONSTRAINT sites_release_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.sites_release ADD CONSTRAINT sites_release_site_id_6b8e69a7_fk_sites_site_id FOREIGN KEY (site_id) REFERENCES public.sites_site(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.sites_release FORCE ROW LEVEL SECURITY;
ALTER TABLE ONLY public.sites_review ADD CONSTRAINT sites_review_author_id_5daf7065_fk_accounts_user_id FOREIGN KEY (author_id) REFERENCES public.accounts_user(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.sites_review ADD CONSTRAINT sites_review_editor_id_64c0251a_fk_accounts_user_id FOREIGN KEY (editor_id) REFERENCES public.accounts_user(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.sites_review ADD CONSTRAINT sites_review_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.sites_review ADD CONSTRAINT sites_review_revision_id_2b99ee97_fk_sites_revision_id FOREIGN KEY (revision_id) REFERENCES public.sites_revision(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.sites_review ADD CONSTRAINT sites_review_site_id_58a3211e_fk_sites_site_id FOREIGN KEY (site_id) REFERENCES public.sites_site(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.sites_review FORCE ROW LEVEL SECURITY;
ALTER TABLE ONLY public.sites_revision ADD CONSTRAINT sites_revision_author_id_d89e367f_fk_accounts_user_id FOREIGN KEY (author_id) REFERENCES public.accounts_user(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.sites_revision ADD CONSTRAINT sites_revision_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.sites_revision ADD CONSTRAINT sites_revision_site_id_81fdb201_fk_sites_site_id FOREIGN KEY (site_id) REFERENCES public.sites_site(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.sites_revision FORCE ROW LEVEL SECURITY;
ALTER TABLE ONLY public.sites_schedule ADD CONSTRAINT sites_schedule_author_id_69203191_fk_accounts_user_id FOREIGN KEY (author_id) REFERENCES public.accounts_user(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.sites_schedule ADD CONSTRAINT sites_schedule_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.sites_schedule ADD CONSTRAINT sites_schedule_revision_id_bcc3518e_fk_sites_revision_id FOREIGN KEY (revision_id) REFERENCES public.sites_revision(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.sites_schedule ADD CONSTRAINT sites_schedule_site_id_d068a88d_fk_sites_site_id FOREIGN KEY (site_id) REFERENCES public.sites_site(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.sites_schedule FORCE ROW LEVEL SECURITY;
ALTER TABLE ONLY public.sites_site ADD CONSTRAINT sites_site_live_release_id_518a8d1b_fk_sites_release_id FOREIGN KEY (live_release_id) REFERENCES public.sites_release(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.sites_site ADD CONSTRAINT sites_site_number_key UNIQUE (number);
ALTER TABLE ONLY public.sites_site ADD CONSTRAINT sites_site_owner_id_ec36f800_fk_accounts_user_id FOREIGN KEY (owner_id) REFERENCES public.accounts_user(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.sites_site ADD CONSTRAINT sites_site_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.sites_site ADD CONSTRAINT sites_site_subdomain_key UNIQUE (subdomain);
ALTER TABLE ONLY public.sites_site FORCE ROW LEVEL SECURITY;
ALTER TABLE ONLY public.sites_subdomainreservation ADD CONSTRAINT sites_subdomainreservation_digest_key UNIQUE (digest);
ALTER TABLE ONLY public.sites_subdomainreservation ADD CONSTRAINT sites_subdomainreservation_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.sites_subdomainreservation FORCE ROW LEVEL SECURITY;
ALTER TABLE ONLY public.vault_formerversion ADD CONSTRAINT vault_formerversion_item_id_dd7be84d_fk_vault_item_id FOREIGN KEY (item_id) REFERENCES public.vault_item(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.vault_formerversion ADD CONSTRAINT vault_formerversion_owner_id_efda1f66_fk_accounts_user_id FOREIGN KEY (owner_id) REFERENCES public.accounts_user(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.vault_formerversion ADD CONSTRAINT vault_formerversion_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.vault_formerversion FORCE ROW LEVEL SECURITY;
ALTER TABLE ONLY public.vault_holder ADD CONSTRAINT vault_holder_owner_id_775917d4_fk_accounts_user_id FOREIGN KEY (owner_id) REFERENCES public.accounts_user(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.vault_holder ADD CONSTRAINT vault_holder_pkey PRIMARY KEY (owner_id);
ALTER TABLE ONLY public.vault_holder FORCE ROW LEVEL SECURITY;
ALTER TABLE ONLY public.vault_item ADD CONSTRAINT vault_item_owner_id_5fa14fef_fk_accounts_user_id FOREIGN KEY (owner_id) REFERENCES public.accounts_user(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.vault_item ADD CONSTRAINT vault_item_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.vault_item ADD CONSTRAINT vault_item_vault_id_5521c5d0_fk_vault_vault_id FOREIGN KEY (vault_id) REFERENCES public.vault_vault(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.vault_item FORCE ROW LEVEL SECURITY;
ALTER TABLE ONLY public.vault_vault ADD CONSTRAINT vault_vault_owner_id_9c605869_fk_accounts_user_id FOREIGN KEY (owner_id) REFERENCES public.accounts_user(id) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE ONLY public.vault_vault ADD CONSTRAINT vault_vault_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.vault_vault FORCE ROW LEVEL SECURITY;
ALTER TABLE public.accounts_recoverycode ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY ( SEQUENCE NAME public.accounts_recoverycode_id_seq START WITH 1 INCREMENT BY 1 NO MINVALUE NO MAXVALUE CACHE 1 );
ALTER TABLE public.accounts_user_roles ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY ( SEQUENCE NAME public.accounts_user_roles_id_seq START WITH 1 INCREMENT BY 1 NO MINVALUE NO MAXVALUE CACHE 1 );
ALTER TABLE public.analytics_annotation ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.analytics_definition ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.analytics_settings ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.analytics_share ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.analytics_subscription ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.analytics_term ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY ( SEQUENCE NAME public.analytics_term_id_seq START WITH 1 INCREMENT BY 1 NO MINVALUE NO MAXVALUE CACHE 1 );
ALTER TABLE public.auth_group ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY ( SEQUENCE NAME public.auth_group_id_seq START WITH 1 INCREMENT BY 1 NO MINVALUE NO MAXVALUE CACHE 1 );
ALTER TABLE public.auth_group_permissions ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY ( SEQUENCE NAME public.auth_group_permissions_id_seq START WITH 1 INCREMENT BY 1 NO MINVALUE NO MAXVALUE CACHE 1 );
ALTER TABLE public.auth_permission ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY ( SEQUENCE NAME public.auth_permission_id_seq START WITH 1 INCREMENT BY 1 NO MINVALUE NO MAXVALUE CACHE 1 );
ALTER TABLE public.django_admin_log ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY ( SEQUENCE NAME public.django_admin_log_id_seq START WITH 1 INCREMENT BY 1 NO MINVALUE NO MAXVALUE CACHE 1 );
ALTER TABLE public.django_content_type ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY ( SEQUENCE NAME public.django_content_type_id_seq START WITH 1 INCREMENT BY 1 NO MINVALUE NO MAXVALUE CACHE 1 );
ALTER TABLE public.django_migrations ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY ( SEQUENCE NAME public.django_migrations_id_seq START WITH 1 INCREMENT BY 1 NO MINVALUE NO MAXVALUE CACHE 1 );
ALTER TABLE public.sites_access ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY ( SEQUENCE NAME public.sites_access_id_seq START WITH 1 INCREMENT BY 1 NO MINVALUE NO MAXVALUE CACHE 1 );
ALTER TABLE public.sites_announcement ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.sites_draft ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.sites_formerslug ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY ( SEQUENCE NAME public.sites_formerslug_id_seq START WITH 1 INCREMENT BY 1 NO MINVALUE NO MAXVALUE CACHE 1 );
ALTER TABLE public.sites_formerslug ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.sites_invitation ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.sites_post ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.sites_preview ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.sites_release ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.sites_review ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.sites_revision ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.sites_schedule ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.sites_site ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.sites_subdomainreservation ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY ( SEQUENCE NAME public.sites_subdomainreservation_id_seq START WITH 1 INCREMENT BY 1 NO MINVALUE NO MAXVALUE CACHE 1 );
ALTER TABLE public.sites_subdomainreservation ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.vault_formerversion ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY ( SEQUENCE NAME public.vault_formerversion_id_seq START WITH 1 INCREMENT BY 1 NO MINVALUE NO MAXVALUE CACHE 1 );
ALTER TABLE public.vault_formerversion ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.vault_holder ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.vault_item ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.vault_vault ENABLE ROW LEVEL SECURITY;
BEGIN -- Each branch reads only the transition tables that its triggers have. IF TG_OP = 'INSERT' THEN SELECT array_agg(site_id), array_agg(bytes) INTO changed_sites, added_bytes FROM (SELECT site_id, sum(size) AS bytes FROM new_rows GROUP BY site_id) c;
BEGIN PERFORM FROM core_storageusage WHERE owner_id IN (OLD.owner_id, NEW.owner_id) ORDER BY owner_id FOR NO KEY UPDATE;
CREATE FUNCTION public.app_context() RETURNS text LANGUAGE sql STABLE PARALLEL SAFE AS $$ SELECT NULLIF(current_setting('app.context', true), '') $$;
CREATE FUNCTION public.app_user() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE AS $_$ SELECT substring(current_setting('app.context', true) FROM '^user:(.{36})$')::uuid $_$;
CREATE FUNCTION public.audit_record(new_id uuid, new_event text, new_actor_kind text, new_actor_id uuid, new_subject_type text, new_subject_id uuid, new_site_id uuid, new_owner_id uuid, new_session_id uuid, new_request_id text, new_facts text, new_personal text, new_created_at timestamp with time zone, new_fields text[], new_values text[], new_salts bytea[]) RETURNS void LANGUAGE plpgsql AS $$ BEGIN INSERT INTO audit_entry VALUES ( new_id, new_event, new_actor_kind, new_actor_id, new_subject_type, new_subject_id, new_site_id, new_owner_id, new_session_id, new_request_id, new_facts, new_personal, new_created_at );
CREATE FUNCTION public.audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'the audit trail is never changed' USING ERRCODE = 'restrict_violation';
CREATE FUNCTION public.core_add_storage_usage(changed_owner uuid, changed_kind text, added bigint) RETURNS void LANGUAGE plpgsql AS $$ BEGIN IF added > 0 THEN INSERT INTO core_storageusage AS stored (owner_id, used, parts) VALUES (changed_owner, added, jsonb_build_object(changed_kind, added)) ON CONFLICT (owner_id) DO UPDATE SET used = stored.used + added, parts = stored.parts || jsonb_build_object(changed_kind, coalesce((stored.parts ->> changed_kind)::bigint, 0) + added);
CREATE FUNCTION public.sites_bytes_of_site(measured_site uuid) RETURNS TABLE(kind text, bytes bigint) LANGUAGE sql STABLE AS $$ SELECT 'drafts', coalesce(sum(size), 0) FROM sites_draft WHERE site_id = measured_site UNION ALL SELECT 'revisions', coalesce(sum(size), 0) FROM sites_revision WHERE site_id = measured_site UNION ALL SELECT 'releases', coalesce(sum(size), 0) FROM sites_release WHERE site_id = measured_site UNION ALL SELECT 'posts', coalesce(sum(size), 0) FROM sites_post WHERE site_id = measured_site $$;
CREATE FUNCTION public.sites_count_bytes() RETURNS trigger LANGUAGE plpgsql AS $$ DECLARE changed_sites uuid[];
CREATE FUNCTION public.sites_is_referenced(revision uuid) RETURNS boolean LANGUAGE sql STABLE AS $$ SELECT EXISTS (SELECT FROM sites_schedule WHERE revision_id = revision) OR EXISTS (SELECT FROM sites_review WHERE revision_id = revision) OR EXISTS (SELECT FROM sites_preview WHERE revision_id = revision) $$;
CREATE FUNCTION public.sites_move_bytes() RETURNS trigger LANGUAGE plpgsql AS $$ DECLARE part record;
CREATE FUNCTION public.sites_release_is_final() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF (OLD.id, OLD.site_id, OLD.number, OLD.blueprint, OLD.created_at, OLD.note) IS DISTINCT FROM (NEW.id, NEW.site_id, NEW.number, NEW.blueprint, NEW.created_at, NEW.note) THEN RAISE EXCEPTION 'a release is never changed' USING ERRCODE = 'restrict_violation';
CREATE FUNCTION public.sites_revision_is_final() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF (OLD.id, OLD.site_id, OLD.version, OLD.blueprint, OLD.size, OLD.created_at) IS DISTINCT FROM (NEW.id, NEW.site_id, NEW.version, NEW.blueprint, NEW.size, NEW.created_at) THEN RAISE EXCEPTION 'a revision is never changed' USING ERRCODE = 'restrict_violation';
CREATE FUNCTION public.sites_with_one_page(blueprint jsonb, path text) RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT jsonb_set(blueprint, '{pages}', ( SELECT coalesce(jsonb_agg(CASE WHEN page ->> 'path' = path THEN page ELSE page - 'blocks' END ORDER BY place), '[]') FROM jsonb_array_elements(blueprint -> 'pages') WITH ORDINALITY AS every(page, place) )) $$;
CREATE FUNCTION public.vault_count_bytes() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF TG_OP = 'DELETE' THEN PERFORM core_add_storage_usage(OLD.owner_id, 'vault', -OLD.size);
CREATE INDEX accounts_apikey_owner_id_2be2fe13 ON public.accounts_apikey USING btree (owner_id);
CREATE INDEX accounts_apikey_prefix_2468c39f_like ON public.accounts_apikey USING btree (prefix varchar_pattern_ops);
CREATE INDEX accounts_dataexport_user_id_1c3468c6 ON public.accounts_dataexport USING btree (user_id);
CREATE INDEX accounts_emailproof_user_id_c3b1bccb ON public.accounts_emailproof USING btree (user_id);
CREATE INDEX accounts_identity_user_id_f7ddf146 ON public.accounts_identity USING btree (user_id);
CREATE INDEX accounts_passkey_user_id_f8f562b4 ON public.accounts_passkey USING btree (user_id);
CREATE INDEX accounts_recoverycode_user_id_994761d3 ON public.accounts_recoverycode USING btree (user_id);
CREATE INDEX accounts_role_name_2b60d248_like ON public.accounts_role USING btree (name varchar_pattern_ops);
CREATE INDEX accounts_session_impersonator_id_7861b857 ON public.accounts_session USING btree (impersonator_id);
CREATE INDEX accounts_session_user_id_d5aaed01 ON public.accounts_session USING btree (user_id);
CREATE INDEX accounts_spentchallenge_expires_at_ac6676a6 ON public.accounts_spentchallenge USING btree (expires_at);
CREATE INDEX accounts_spentchallenge_nonce_90592be6_like ON public.accounts_spentchallenge USING btree (nonce varchar_pattern_ops);
CREATE INDEX accounts_user_email_b2644a56_like ON public.accounts_user USING btree (email varchar_pattern_ops);
CREATE INDEX accounts_user_roles_role_id_3be0e909 ON public.accounts_user_roles USING btree (role_id);
CREATE INDEX accounts_user_roles_user_id_5c537963 ON public.accounts_user_roles USING btree (user_id);
CREATE INDEX analytics_annotation_site_id_c7ffcbc6 ON public.analytics_annotation USING btree (site_id);
CREATE INDEX analytics_definition_site_id_ad13bedd ON public.analytics_definition USING btree (site_id);
CREATE INDEX analytics_dirty_site ON public.analytics_dirty USING btree (site_number, day);
CREATE INDEX analytics_event_sample ON ONLY public.analytics_event USING btree (site_number, created_at) WHERE ((COALESCE(visitor, NULLIF(event_id, 0), ((EXTRACT(epoch FROM (created_at - '1970-01-01 00:00:00+00'::timestamp with time zone)) * (1000)::numeric))::bigint) & (15)::bigint) = 0);
CREATE INDEX analytics_event_site ON ONLY public.analytics_event USING btree (site_number, created_at);
CREATE INDEX analytics_share_author_id_22a4776d ON public.analytics_share USING btree (author_id);
CREATE INDEX analytics_share_site_id_0ea6fa53 ON public.analytics_share USING btree (site_id);
CREATE INDEX analytics_subscription_site_id_66fb0689 ON public.analytics_subscription USING btree (site_id);
CREATE INDEX analytics_subscription_user_id_0c969466 ON public.analytics_subscription USING btree (user_id);
CREATE INDEX analytics_term_day ON public.analytics_term USING btree (site_number, sort, since);
CREATE INDEX annotation_day ON public.analytics_annotation USING btree (site_id, day);
CREATE INDEX announcement_due ON public.sites_announcement USING btree (due_at) WHERE ((status)::text = ANY ((ARRAY['waiting'::character varying, 'running'::character varying])::text[]));
CREATE INDEX audit_entry_actor ON ONLY public.audit_entry USING btree (actor_id, id);
CREATE INDEX audit_entry_owner ON ONLY public.audit_entry USING btree (owner_id, id);
CREATE INDEX audit_entry_site ON ONLY public.audit_entry USING btree (site_id, id);
CREATE INDEX audit_entry_subject ON ONLY public.audit_entry USING btree (subject_id, id);
CREATE INDEX audit_stub_partition_e6b6b76e_like ON public.audit_stub USING btree (partition varchar_pattern_ops);
CREATE INDEX auth_group_name_a6ea08ec_like ON public.auth_group USING btree (name varchar_pattern_ops);
CREATE INDEX auth_group_permissions_group_id_b120cbf9 ON public.auth_group_permissions USING btree (group_id);
CREATE INDEX auth_group_permissions_permission_id_84c5c92e ON public.auth_group_permissions USING btree (permission_id);
CREATE INDEX auth_permission_content_type_id_2f476e4b ON public.auth_permission USING btree (content_type_id);
CREATE INDEX backup_run_created ON public.backups_backuprun USING btree (created_at);
CREATE INDEX backups_check_run_id_050f2475 ON public.backups_check USING btree (run_id);
CREATE INDEX backups_siterestore_made_id_38e9811c ON public.backups_siterestore USING btree (made_id);
CREATE INDEX backups_siterestore_run_id_ca48bb55 ON public.backups_siterestore USING btree (run_id);
CREATE INDEX core_idempotentresponse_created_at_e81d344b ON public.core_idempotentresponse USING btree (created_at);
CREATE INDEX core_periodicslot_job_5e2cb061_like ON public.core_periodicslot USING btree (job varchar_pattern_ops);
CREATE INDEX data_export_due ON public.accounts_dataexport USING btree (due_at) WHERE ((status)::text = ANY ((ARRAY['waiting'::character varying, 'running'::character varying])::text[]));
CREATE INDEX django_admin_log_content_type_id_c4bce8eb ON public.django_admin_log USING btree (content_type_id);
CREATE INDEX django_admin_log_user_id_c564eba6 ON public.django_admin_log USING btree (user_id);
CREATE INDEX django_session_expire_date_a5c62663 ON public.django_session USING btree (expire_date);
CREATE INDEX django_session_session_key_c0390e0f_like ON public.django_session USING btree (session_key varchar_pattern_ops);
CREATE INDEX email_proof_due ON public.accounts_emailproof USING btree (due_at) WHERE ((status)::text = ANY ((ARRAY['waiting'::character varying, 'running'::character varying])::text[]));
CREATE INDEX email_proof_email ON public.accounts_emailproof USING btree (email, id);
CREATE INDEX email_proof_expiry ON public.accounts_emailproof USING btree (expires_at);
CREATE INDEX invitation_author ON public.sites_invitation USING btree (author_id, created_at);
CREATE INDEX mail_created ON public.core_mail USING btree (created_at);
CREATE INDEX mail_due ON public.core_mail USING btree (due_at) WHERE ((status)::text = ANY ((ARRAY['waiting'::character varying, 'running'::character varying])::text[]));
CREATE INDEX mail_person ON public.core_mail USING btree (person);
CREATE INDEX post_deleted ON public.sites_post USING btree (deleted_at) WHERE (NOT (deleted_at IS NULL));
CREATE INDEX post_due ON public.sites_post USING btree (published_at) WHERE ((deleted_at IS NULL) AND (NOT live));
CREATE INDEX post_shown ON public.sites_post USING btree (site_id, published_at, id) WHERE ((deleted_at IS NULL) AND live);
CREATE INDEX preview_expires ON public.sites_preview USING btree (expires_at);
CREATE INDEX schedule_due ON public.sites_schedule USING btree (due_at) WHERE ((status)::text = ANY ((ARRAY['waiting'::character varying, 'running'::character varying])::text[]));
CREATE INDEX session_unmirrored ON public.accounts_session USING btree (revoked_at) WHERE ((mirrored_at IS NULL) AND (NOT (revoked_at IS NULL)));
CREATE INDEX site_deleted ON public.sites_site USING btree (deleted_at) WHERE (NOT (deleted_at IS NULL));
CREATE INDEX site_restore_site ON public.backups_siterestore USING btree (site_id);
CREATE INDEX sites_access_site_id_3fec85b6 ON public.sites_access USING btree (site_id);
CREATE INDEX sites_access_user_id_aacf6dab ON public.sites_access USING btree (user_id);
CREATE INDEX sites_announcement_site_id_c6d0ea72 ON public.sites_announcement USING btree (site_id);
CREATE INDEX sites_draft_author_id_6ebb3abf ON public.sites_draft USING btree (author_id);
CREATE INDEX sites_formerslug_post_id_2668d815 ON public.sites_formerslug USING btree (post_id);
CREATE INDEX sites_formerslug_site_id_d81aa19c ON public.sites_formerslug USING btree (site_id);
CREATE INDEX sites_invitation_author_id_b2396089 ON public.sites_invitation USING btree (author_id);
CREATE INDEX sites_invitation_site_id_784ff9d4 ON public.sites_invitation USING btree (site_id);
CREATE INDEX sites_post_author_id_9f50b95a ON public.sites_post USING btree (author_id);
CREATE INDEX sites_post_site_id_d4cf2861 ON public.sites_post USING btree (site_id);
CREATE INDEX sites_preview_author_id_175bd60e ON public.sites_preview USING btree (author_id);
CREATE INDEX sites_preview_post_id_6adf9968 ON public.sites_preview USING btree (post_id);
CREATE INDEX sites_preview_revision_id_118b79ff ON public.sites_preview USING btree (revision_id);
CREATE INDEX sites_preview_site_id_3c55b229 ON public.sites_preview USING btree (site_id);
CREATE INDEX sites_release_author_id_4b6e2bff ON public.sites_release USING btree (author_id);
CREATE INDEX sites_release_site_id_6b8e69a7 ON public.sites_release USING btree (site_id);
CREATE INDEX sites_review_author_id_5daf7065 ON public.sites_review USING btree (author_id);
CREATE INDEX sites_review_editor_id_64c0251a ON public.sites_review USING btree (editor_id);
CREATE INDEX sites_review_revision_id_2b99ee97 ON public.sites_review USING btree (revision_id);
CREATE INDEX sites_review_site_id_58a3211e ON public.sites_review USING btree (site_id);
CREATE INDEX sites_revision_author_id_d89e367f ON public.sites_revision USING btree (author_id);
CREATE INDEX sites_revision_site_id_81fdb201 ON public.sites_revision USING btree (site_id);
CREATE INDEX sites_schedule_author_id_69203191 ON public.sites_schedule USING btree (author_id);
CREATE INDEX sites_schedule_revision_id_bcc3518e ON public.sites_schedule USING btree (revision_id);
CREATE INDEX sites_schedule_site_id_d068a88d ON public.sites_schedule USING btree (site_id);
CREATE INDEX sites_site_live_release_id_518a8d1b ON public.sites_site USING btree (live_release_id);
CREATE INDEX sites_site_owner_id_ec36f800 ON public.sites_site USING btree (owner_id);
CREATE INDEX sites_site_subdomain_b44b7574_like ON public.sites_site USING btree (subdomain varchar_pattern_ops);
CREATE INDEX sites_subdomainreservation_digest_fa875bb2_like ON public.sites_subdomainreservation USING btree (digest varchar_pattern_ops);
CREATE INDEX sites_subdomainreservation_owner_id_8445625b ON public.sites_subdomainreservation USING btree (owner_id);
CREATE INDEX sites_subdomainreservation_released_at_0e7aec6b ON public.sites_subdomainreservation USING btree (released_at);
CREATE INDEX user_deleted ON public.accounts_user USING btree (deleted_at) WHERE (NOT (deleted_at IS NULL));
CREATE INDEX user_epoch_unmirrored ON public.accounts_user USING btree (epoch_raised_at) WHERE ((epoch_mirrored_at IS NULL) AND (NOT (epoch_raised_at IS NULL)));
CREATE INDEX vault_changes ON public.vault_vault USING btree (owner_id, sequence);
CREATE INDEX vault_deleted ON public.vault_vault USING btree (deleted_at) WHERE (NOT (deleted_at IS NULL));
CREATE INDEX vault_formerversion_item_id_dd7be84d ON public.vault_formerversion USING btree (item_id);
CREATE INDEX vault_formerversion_owner_id_efda1f66 ON public.vault_formerversion USING btree (owner_id);
CREATE INDEX vault_item_changes ON public.vault_item USING btree (owner_id, sequence);
CREATE INDEX vault_item_owner_id_5fa14fef ON public.vault_item USING btree (owner_id);
CREATE INDEX vault_item_trash ON public.vault_item USING btree (deleted_at) WHERE ((NOT (deleted_at IS NULL)) AND (purged_at IS NULL));
CREATE INDEX vault_item_vault_id_5521c5d0 ON public.vault_item USING btree (vault_id);
CREATE INDEX vault_vault_owner_id_9c605869 ON public.vault_vault USING btree (owner_id);
CREATE POLICY own ON public.vault_formerversion USING (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (owner_id = ( SELECT public.app_user() AS app_user)))) WITH CHECK (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (owner_id = ( SELECT public.app_user() AS app_user))));
CREATE POLICY own ON public.vault_holder USING (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (owner_id = ( SELECT public.app_user() AS app_user)))) WITH CHECK (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (owner_id = ( SELECT public.app_user() AS app_user))));
CREATE POLICY own ON public.vault_item USING (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (owner_id = ( SELECT public.app_user() AS app_user)))) WITH CHECK (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (owner_id = ( SELECT public.app_user() AS app_user))));
CREATE POLICY own ON public.vault_vault USING (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (owner_id = ( SELECT public.app_user() AS app_user)))) WITH CHECK (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (owner_id = ( SELECT public.app_user() AS app_user))));
CREATE POLICY published ON public.sites_formerslug FOR SELECT USING (((( SELECT public.app_context() AS app_context) = 'public'::text) AND ( SELECT true FROM public.sites_post shown WHERE (shown.id = sites_formerslug.post_id))));
CREATE POLICY published ON public.sites_post FOR SELECT USING (((( SELECT public.app_context() AS app_context) = 'public'::text) AND (live AND (deleted_at IS NULL) AND ( SELECT true FROM public.sites_site shown WHERE (shown.id = sites_post.site_id)))));
CREATE POLICY published ON public.sites_release FOR SELECT USING (((( SELECT public.app_context() AS app_context) = 'public'::text) AND (EXISTS ( SELECT 1 FROM public.sites_site shown WHERE (shown.live_release_id = sites_release.id)))));
CREATE POLICY published ON public.sites_site FOR SELECT USING (((( SELECT public.app_context() AS app_context) = 'public'::text) AND (((status)::text = 'live'::text) AND (deleted_at IS NULL))));
CREATE POLICY tenant ON public.analytics_annotation USING (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE (sites_access.user_id = ( SELECT public.app_user() AS app_user)))))) WITH CHECK (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE (sites_access.user_id = ( SELECT public.app_user() AS app_user))))));
CREATE POLICY tenant ON public.analytics_definition USING (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE (sites_access.user_id = ( SELECT public.app_user() AS app_user)))))) WITH CHECK (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE (sites_access.user_id = ( SELECT public.app_user() AS app_user))))));
CREATE POLICY tenant ON public.analytics_settings USING (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE (sites_access.user_id = ( SELECT public.app_user() AS app_user)))))) WITH CHECK (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE (sites_access.user_id = ( SELECT public.app_user() AS app_user))))));
CREATE POLICY tenant ON public.analytics_share USING (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE (sites_access.user_id = ( SELECT public.app_user() AS app_user)))))) WITH CHECK (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE (sites_access.user_id = ( SELECT public.app_user() AS app_user))))));
CREATE POLICY tenant ON public.analytics_subscription USING (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE (sites_access.user_id = ( SELECT public.app_user() AS app_user)))))) WITH CHECK (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE (sites_access.user_id = ( SELECT public.app_user() AS app_user))))));
CREATE POLICY tenant ON public.sites_announcement USING (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE (sites_access.user_id = ( SELECT public.app_user() AS app_user)))))) WITH CHECK (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE (sites_access.user_id = ( SELECT public.app_user() AS app_user))))));
CREATE POLICY tenant ON public.sites_draft USING (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE (sites_access.user_id = ( SELECT public.app_user() AS app_user)))))) WITH CHECK (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE (sites_access.user_id = ( SELECT public.app_user() AS app_user))))));
CREATE POLICY tenant ON public.sites_formerslug USING (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE (sites_access.user_id = ( SELECT public.app_user() AS app_user)))))) WITH CHECK (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE (sites_access.user_id = ( SELECT public.app_user() AS app_user))))));
CREATE POLICY tenant ON public.sites_invitation USING (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE (sites_access.user_id = ( SELECT public.app_user() AS app_user)))))) WITH CHECK (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE (sites_access.user_id = ( SELECT public.app_user() AS app_user))))));
CREATE POLICY tenant ON public.sites_post USING (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE (sites_access.user_id = ( SELECT public.app_user() AS app_user)))))) WITH CHECK (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE (sites_access.user_id = ( SELECT public.app_user() AS app_user))))));
CREATE POLICY tenant ON public.sites_preview USING (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE (sites_access.user_id = ( SELECT public.app_user() AS app_user)))))) WITH CHECK (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE (sites_access.user_id = ( SELECT public.app_user() AS app_user))))));
CREATE POLICY tenant ON public.sites_release USING (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE (sites_access.user_id = ( SELECT public.app_user() AS app_user)))))) WITH CHECK (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE (sites_access.user_id = ( SELECT public.app_user() AS app_user))))));
CREATE POLICY tenant ON public.sites_review USING (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE (sites_access.user_id = ( SELECT public.app_user() AS app_user)))))) WITH CHECK (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE (sites_access.user_id = ( SELECT public.app_user() AS app_user))))));
CREATE POLICY tenant ON public.sites_revision USING (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE (sites_access.user_id = ( SELECT public.app_user() AS app_user)))))) WITH CHECK (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE (sites_access.user_id = ( SELECT public.app_user() AS app_user))))));
CREATE POLICY tenant ON public.sites_schedule USING (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE (sites_access.user_id = ( SELECT public.app_user() AS app_user)))))) WITH CHECK (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE (sites_access.user_id = ( SELECT public.app_user() AS app_user))))));
CREATE POLICY tenant ON public.sites_site USING (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE (sites_access.user_id = ( SELECT public.app_user() AS app_user)))))) WITH CHECK (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE (sites_access.user_id = ( SELECT public.app_user() AS app_user))))));
CREATE POLICY tenant ON public.sites_subdomainreservation USING (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (owner_id = ( SELECT public.app_user() AS app_user)))) WITH CHECK ((( SELECT public.app_context() AS app_context) = 'system'::text));
CREATE POLICY writers_delete ON public.analytics_annotation AS RESTRICTIVE FOR DELETE USING (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE ((sites_access.user_id = ( SELECT public.app_user() AS app_user)) AND ((sites_access.role)::text <> 'viewer'::text))))));
CREATE POLICY writers_delete ON public.analytics_definition AS RESTRICTIVE FOR DELETE USING (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE ((sites_access.user_id = ( SELECT public.app_user() AS app_user)) AND ((sites_access.role)::text <> 'viewer'::text))))));
CREATE POLICY writers_delete ON public.analytics_share AS RESTRICTIVE FOR DELETE USING (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE ((sites_access.user_id = ( SELECT public.app_user() AS app_user)) AND ((sites_access.role)::text <> 'viewer'::text))))));
CREATE POLICY writers_delete ON public.sites_announcement AS RESTRICTIVE FOR DELETE USING (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE ((sites_access.user_id = ( SELECT public.app_user() AS app_user)) AND ((sites_access.role)::text <> 'viewer'::text))))));
CREATE POLICY writers_delete ON public.sites_draft AS RESTRICTIVE FOR DELETE USING (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE ((sites_access.user_id = ( SELECT public.app_user() AS app_user)) AND ((sites_access.role)::text <> 'viewer'::text))))));
CREATE POLICY writers_delete ON public.sites_formerslug AS RESTRICTIVE FOR DELETE USING (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE ((sites_access.user_id = ( SELECT public.app_user() AS app_user)) AND ((sites_access.role)::text <> 'viewer'::text))))));
CREATE POLICY writers_delete ON public.sites_invitation AS RESTRICTIVE FOR DELETE USING (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE ((sites_access.user_id = ( SELECT public.app_user() AS app_user)) AND ((sites_access.role)::text <> 'viewer'::text))))));
CREATE POLICY writers_delete ON public.sites_post AS RESTRICTIVE FOR DELETE USING (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE ((sites_access.user_id = ( SELECT public.app_user() AS app_user)) AND ((sites_access.role)::text <> 'viewer'::text))))));
CREATE POLICY writers_delete ON public.sites_preview AS RESTRICTIVE FOR DELETE USING (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE ((sites_access.user_id = ( SELECT public.app_user() AS app_user)) AND ((sites_access.role)::text <> 'viewer'::text))))));
CREATE POLICY writers_delete ON public.sites_release AS RESTRICTIVE FOR DELETE USING (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE ((sites_access.user_id = ( SELECT public.app_user() AS app_user)) AND ((sites_access.role)::text <> 'viewer'::text))))));
CREATE POLICY writers_delete ON public.sites_review AS RESTRICTIVE FOR DELETE USING (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE ((sites_access.user_id = ( SELECT public.app_user() AS app_user)) AND ((sites_access.role)::text <> 'viewer'::text))))));
CREATE POLICY writers_delete ON public.sites_revision AS RESTRICTIVE FOR DELETE USING (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE ((sites_access.user_id = ( SELECT public.app_user() AS app_user)) AND ((sites_access.role)::text <> 'viewer'::text))))));
CREATE POLICY writers_delete ON public.sites_schedule AS RESTRICTIVE FOR DELETE USING (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE ((sites_access.user_id = ( SELECT public.app_user() AS app_user)) AND ((sites_access.role)::text <> 'viewer'::text))))));
CREATE POLICY writers_delete ON public.sites_site AS RESTRICTIVE FOR DELETE USING (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE ((sites_access.user_id = ( SELECT public.app_user() AS app_user)) AND ((sites_access.role)::text <> 'viewer'::text))))));
CREATE POLICY writers_insert ON public.analytics_annotation AS RESTRICTIVE FOR INSERT WITH CHECK (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE ((sites_access.user_id = ( SELECT public.app_user() AS app_user)) AND ((sites_access.role)::text <> 'viewer'::text))))));
CREATE POLICY writers_insert ON public.analytics_definition AS RESTRICTIVE FOR INSERT WITH CHECK (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE ((sites_access.user_id = ( SELECT public.app_user() AS app_user)) AND ((sites_access.role)::text <> 'viewer'::text))))));
CREATE POLICY writers_insert ON public.analytics_share AS RESTRICTIVE FOR INSERT WITH CHECK (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE ((sites_access.user_id = ( SELECT public.app_user() AS app_user)) AND ((sites_access.role)::text <> 'viewer'::text))))));
CREATE POLICY writers_insert ON public.sites_announcement AS RESTRICTIVE FOR INSERT WITH CHECK (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE ((sites_access.user_id = ( SELECT public.app_user() AS app_user)) AND ((sites_access.role)::text <> 'viewer'::text))))));
CREATE POLICY writers_insert ON public.sites_draft AS RESTRICTIVE FOR INSERT WITH CHECK (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE ((sites_access.user_id = ( SELECT public.app_user() AS app_user)) AND ((sites_access.role)::text <> 'viewer'::text))))));
CREATE POLICY writers_insert ON public.sites_formerslug AS RESTRICTIVE FOR INSERT WITH CHECK (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE ((sites_access.user_id = ( SELECT public.app_user() AS app_user)) AND ((sites_access.role)::text <> 'viewer'::text))))));
CREATE POLICY writers_insert ON public.sites_invitation AS RESTRICTIVE FOR INSERT WITH CHECK (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE ((sites_access.user_id = ( SELECT public.app_user() AS app_user)) AND ((sites_access.role)::text <> 'viewer'::text))))));
CREATE POLICY writers_insert ON public.sites_post AS RESTRICTIVE FOR INSERT WITH CHECK (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE ((sites_access.user_id = ( SELECT public.app_user() AS app_user)) AND ((sites_access.role)::text <> 'viewer'::text))))));
CREATE POLICY writers_insert ON public.sites_preview AS RESTRICTIVE FOR INSERT WITH CHECK (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE ((sites_access.user_id = ( SELECT public.app_user() AS app_user)) AND ((sites_access.role)::text <> 'viewer'::text))))));
CREATE POLICY writers_insert ON public.sites_release AS RESTRICTIVE FOR INSERT WITH CHECK (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE ((sites_access.user_id = ( SELECT public.app_user() AS app_user)) AND ((sites_access.role)::text <> 'viewer'::text))))));
CREATE POLICY writers_insert ON public.sites_review AS RESTRICTIVE FOR INSERT WITH CHECK (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE ((sites_access.user_id = ( SELECT public.app_user() AS app_user)) AND ((sites_access.role)::text <> 'viewer'::text))))));
CREATE POLICY writers_insert ON public.sites_revision AS RESTRICTIVE FOR INSERT WITH CHECK (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE ((sites_access.user_id = ( SELECT public.app_user() AS app_user)) AND ((sites_access.role)::text <> 'viewer'::text))))));
CREATE POLICY writers_insert ON public.sites_schedule AS RESTRICTIVE FOR INSERT WITH CHECK (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE ((sites_access.user_id = ( SELECT public.app_user() AS app_user)) AND ((sites_access.role)::text <> 'viewer'::text))))));
CREATE POLICY writers_insert ON public.sites_site AS RESTRICTIVE FOR INSERT WITH CHECK (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE ((sites_access.user_id = ( SELECT public.app_user() AS app_user)) AND ((sites_access.role)::text <> 'viewer'::text))))));
CREATE POLICY writers_update ON public.analytics_annotation AS RESTRICTIVE FOR UPDATE USING (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE ((sites_access.user_id = ( SELECT public.app_user() AS app_user)) AND ((sites_access.role)::text <> 'viewer'::text))))));
CREATE POLICY writers_update ON public.analytics_definition AS RESTRICTIVE FOR UPDATE USING (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE ((sites_access.user_id = ( SELECT public.app_user() AS app_user)) AND ((sites_access.role)::text <> 'viewer'::text))))));
CREATE POLICY writers_update ON public.analytics_share AS RESTRICTIVE FOR UPDATE USING (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE ((sites_access.user_id = ( SELECT public.app_user() AS app_user)) AND ((sites_access.role)::text <> 'viewer'::text))))));
CREATE POLICY writers_update ON public.sites_announcement AS RESTRICTIVE FOR UPDATE USING (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE ((sites_access.user_id = ( SELECT public.app_user() AS app_user)) AND ((sites_access.role)::text <> 'viewer'::text))))));
CREATE POLICY writers_update ON public.sites_draft AS RESTRICTIVE FOR UPDATE USING (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE ((sites_access.user_id = ( SELECT public.app_user() AS app_user)) AND ((sites_access.role)::text <> 'viewer'::text))))));
CREATE POLICY writers_update ON public.sites_formerslug AS RESTRICTIVE FOR UPDATE USING (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE ((sites_access.user_id = ( SELECT public.app_user() AS app_user)) AND ((sites_access.role)::text <> 'viewer'::text))))));
CREATE POLICY writers_update ON public.sites_invitation AS RESTRICTIVE FOR UPDATE USING (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE ((sites_access.user_id = ( SELECT public.app_user() AS app_user)) AND ((sites_access.role)::text <> 'viewer'::text))))));
CREATE POLICY writers_update ON public.sites_post AS RESTRICTIVE FOR UPDATE USING (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE ((sites_access.user_id = ( SELECT public.app_user() AS app_user)) AND ((sites_access.role)::text <> 'viewer'::text))))));
CREATE POLICY writers_update ON public.sites_preview AS RESTRICTIVE FOR UPDATE USING (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE ((sites_access.user_id = ( SELECT public.app_user() AS app_user)) AND ((sites_access.role)::text <> 'viewer'::text))))));
CREATE POLICY writers_update ON public.sites_release AS RESTRICTIVE FOR UPDATE USING (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE ((sites_access.user_id = ( SELECT public.app_user() AS app_user)) AND ((sites_access.role)::text <> 'viewer'::text))))));
CREATE POLICY writers_update ON public.sites_review AS RESTRICTIVE FOR UPDATE USING (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE ((sites_access.user_id = ( SELECT public.app_user() AS app_user)) AND ((sites_access.role)::text <> 'viewer'::text))))));
CREATE POLICY writers_update ON public.sites_revision AS RESTRICTIVE FOR UPDATE USING (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE ((sites_access.user_id = ( SELECT public.app_user() AS app_user)) AND ((sites_access.role)::text <> 'viewer'::text))))));
CREATE POLICY writers_update ON public.sites_schedule AS RESTRICTIVE FOR UPDATE USING (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (site_id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE ((sites_access.user_id = ( SELECT public.app_user() AS app_user)) AND ((sites_access.role)::text <> 'viewer'::text))))));
CREATE POLICY writers_update ON public.sites_site AS RESTRICTIVE FOR UPDATE USING (((( SELECT public.app_context() AS app_context) = 'system'::text) OR (id IN ( SELECT sites_access.site_id FROM public.sites_access WHERE ((sites_access.user_id = ( SELECT public.app_user() AS app_user)) AND ((sites_access.role)::text <> 'viewer'::text))))));
CREATE SEQUENCE public.sites_number AS integer START WITH 1 INCREMENT BY 1 NO MINVALUE NO MAXVALUE CACHE 1;
CREATE TABLE public.accounts_apikey (
    CONSTRAINT accounts_apikey_requests_per_minute_check CHECK ((requests_per_minute >= 0)),
    created_at timestamp with time zone NOT NULL,
    digest character varying(64) NOT NULL,
    expires_at timestamp with time zone,
    id uuid NOT NULL,
    label character varying(80) NOT NULL,
    last_used_at timestamp with time zone,
    networks character varying(50)[] NOT NULL,
    owner_id uuid NOT NULL,
    prefix character varying(8) NOT NULL,
    requests_per_minute integer,
    revoked_at timestamp with time zone,
    scopes character varying(60)[] NOT NULL
);
CREATE TABLE public.accounts_dataexport (
    CONSTRAINT accounts_dataexport_attempts_check CHECK ((attempts >= 0)),
    CONSTRAINT accounts_dataexport_finished_attempt_check CHECK ((finished_attempt >= 0)),
    CONSTRAINT accounts_dataexport_parts_check CHECK ((parts >= 0)),
    attempts smallint NOT NULL,
    created_at timestamp with time zone NOT NULL,
    due_at timestamp with time zone NOT NULL,
    error character varying(200) NOT NULL,
    expires_at timestamp with time zone,
    finished_attempt smallint DEFAULT 0 NOT NULL,
    id uuid NOT NULL,
    key bytea NOT NULL,
    members jsonb DEFAULT '[]'::jsonb NOT NULL,
    parts integer NOT NULL,
    size bigint NOT NULL,
    status character varying(10) NOT NULL,
    steps jsonb DEFAULT '[]'::jsonb NOT NULL,
    user_id uuid NOT NULL
);
CREATE TABLE public.accounts_emailproof (
    CONSTRAINT accounts_emailproof_attempts_check CHECK ((attempts >= 0)),
    attempts smallint NOT NULL,
    created_at timestamp with time zone NOT NULL,
    details bytea NOT NULL,
    due_at timestamp with time zone NOT NULL,
    email character varying(254) NOT NULL,
    error character varying(200) NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    id uuid NOT NULL,
    purpose character varying(10) NOT NULL,
    status character varying(10) NOT NULL,
    used_at timestamp with time zone,
    user_id uuid
);
CREATE TABLE public.accounts_identity (
    created_at timestamp with time zone NOT NULL,
    id uuid NOT NULL,
    issuer character varying(255) NOT NULL,
    last_used_at timestamp with time zone,
    provider character varying(20) NOT NULL,
    subject character varying(255) NOT NULL,
    user_id uuid NOT NULL
);
CREATE TABLE public.accounts_passkey (
    created_at timestamp with time zone NOT NULL,
    credential_id bytea NOT NULL,
    id uuid NOT NULL,
    last_used_at timestamp with time zone,
    name character varying(60) NOT NULL,
    public_key bytea NOT NULL,
    sign_count bigint NOT NULL,
    transports character varying(20)[] NOT NULL,
    user_id uuid NOT NULL
);
CREATE TABLE public.accounts_recoverycode (
    digest character varying(64) NOT NULL,
    id bigint NOT NULL,
    used_at timestamp with time zone,
    user_id uuid NOT NULL
);
CREATE TABLE public.accounts_role (
    CONSTRAINT accounts_role_version_check CHECK ((version >= 0)),
    built_in boolean NOT NULL,
    id uuid NOT NULL,
    name character varying(40) NOT NULL,
    permissions character varying(60)[] NOT NULL,
    version integer NOT NULL
);
CREATE TABLE public.accounts_session (
    CONSTRAINT accounts_session_generation_check CHECK ((generation >= 0)),
    agent character varying(200) NOT NULL,
    created_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    generation integer NOT NULL,
    id uuid NOT NULL,
    idle_at timestamp with time zone NOT NULL,
    impersonator_id uuid,
    mirrored_at timestamp with time zone,
    network character varying(60) NOT NULL,
    proved_at timestamp with time zone NOT NULL,
    revoked_at timestamp with time zone,
    rotated_at timestamp with time zone NOT NULL,
    user_id uuid NOT NULL
);
CREATE TABLE public.accounts_spentchallenge (
    expires_at timestamp with time zone NOT NULL,
    nonce character varying(64) NOT NULL
);
CREATE TABLE public.accounts_totp (
    confirmed_at timestamp with time zone,
    last_step bigint NOT NULL,
    secret bytea NOT NULL,
    user_id uuid NOT NULL
);
CREATE TABLE public.accounts_user (
    CONSTRAINT accounts_user_age_check CHECK ((age >= 0)),
    CONSTRAINT accounts_user_epoch_check CHECK ((epoch >= 0)),
    CONSTRAINT accounts_user_kdf_iterations_check CHECK ((kdf_iterations >= 0)),
    CONSTRAINT accounts_user_quota_mib_check CHECK ((quota_mib >= 0)),
    CONSTRAINT accounts_user_version_check CHECK ((version >= 0)),
    CONSTRAINT user_age CHECK (((age IS NULL) OR ((age >= 0) AND (age <= 150)))),
    CONSTRAINT user_kdf CHECK ((((kdf_iterations IS NULL) AND (kdf_salt IS NULL) AND ((scheme)::text = 'password'::text)) OR (((length(kdf_salt) >= 16) AND (length(kdf_salt) <= 64)) AND (kdf_iterations IS NOT NULL) AND ((kdf_iterations >= 600000) AND (kdf_iterations <= 10000000)) AND (kdf_salt IS NOT NULL) AND ((scheme)::text = 'blind'::text)))),
    age smallint,
    created_at timestamp with time zone NOT NULL,
    deleted_at timestamp with time zone,
    email character varying(254) NOT NULL,
    email_verified_at timestamp with time zone,
    epoch integer NOT NULL,
    epoch_mirrored_at timestamp with time zone,
    epoch_raised_at timestamp with time zone,
    id uuid NOT NULL,
    is_active boolean NOT NULL,
    kdf_iterations integer,
    kdf_salt bytea,
    last_login timestamp with time zone,
    name character varying(120) NOT NULL,
    password character varying(128) NOT NULL,
    quota_mib integer,
    scheme character varying(10) NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    version integer NOT NULL
);
CREATE TABLE public.accounts_user_roles (
    id bigint NOT NULL,
    role_id uuid NOT NULL,
    user_id uuid NOT NULL
);
CREATE TABLE public.analytics_annotation (
    created_at timestamp with time zone NOT NULL,
    day date NOT NULL,
    id uuid NOT NULL,
    site_id uuid NOT NULL,
    text character varying(200) NOT NULL
);
CREATE TABLE public.analytics_cursor (
    CONSTRAINT analytics_cursor_shard_check CHECK ((shard >= 0)),
    epoch character varying(40) NOT NULL,
    last_id character varying(40) NOT NULL,
    shard smallint NOT NULL,
    written bigint NOT NULL
);
CREATE TABLE public.analytics_day (
    CONSTRAINT analytics_day_dimension_check CHECK ((dimension >= 0)),
    bounces integer NOT NULL,
    day date NOT NULL,
    dimension smallint NOT NULL,
    engaged bigint NOT NULL,
    events integer NOT NULL,
    pageviews integer NOT NULL,
    seconds bigint NOT NULL,
    site_number integer NOT NULL,
    term integer NOT NULL,
    views integer NOT NULL,
    visitors integer NOT NULL,
    visits integer NOT NULL
);
CREATE TABLE public.analytics_definition (
    conditions jsonb NOT NULL,
    created_at timestamp with time zone NOT NULL,
    id uuid NOT NULL,
    kind character varying(10) NOT NULL,
    name character varying(80) NOT NULL,
    site_id uuid NOT NULL
);
CREATE TABLE public.analytics_directevent (
    created_at timestamp with time zone DEFAULT statement_timestamp() NOT NULL,
    event_id bigint NOT NULL,
    site_number integer NOT NULL
);
CREATE TABLE public.analytics_dirty (
    day date NOT NULL,
    site_number integer NOT NULL
);
CREATE TABLE public.analytics_drop (
    count bigint NOT NULL,
    hour timestamp with time zone NOT NULL,
    reason character varying(20) NOT NULL,
    site_number integer NOT NULL
);
CREATE TABLE public.analytics_event (
    browser integer,
    country integer,
    created_at timestamp with time zone NOT NULL,
    currency character(3),
    device integer,
    engaged integer,
    event_id bigint NOT NULL,
    kind smallint NOT NULL,
    language integer,
    name integer,
    os integer,
    page integer NOT NULL,
    props jsonb,
    referrer integer,
    region integer,
    session bigint,
    site_number integer NOT NULL,
    source integer,
    utm_campaign integer,
    utm_content integer,
    utm_medium integer,
    utm_source integer,
    utm_term integer,
    value numeric(14,3),
    visitor bigint
)
PARTITION BY RANGE (created_at);
CREATE TABLE public.analytics_hour (
    bounces integer NOT NULL,
    engaged bigint NOT NULL,
    events integer NOT NULL,
    hour timestamp with time zone NOT NULL,
    pageviews integer NOT NULL,
    seconds bigint NOT NULL,
    site_number integer NOT NULL,
    views integer NOT NULL,
    visitors integer NOT NULL,
    visits integer NOT NULL
);
CREATE TABLE public.analytics_settings (
    CONSTRAINT analytics_settings_keep_days_check CHECK ((keep_days >= 0)),
    enabled boolean NOT NULL,
    keep_days integer,
    signals character varying(10) NOT NULL,
    site_id uuid NOT NULL,
    timezone character varying(64) NOT NULL
);
CREATE TABLE public.analytics_share (
    author_id uuid NOT NULL,
    conditions jsonb NOT NULL,
    created_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone,
    id uuid NOT NULL,
    name character varying(80) NOT NULL,
    password character varying(200) NOT NULL,
    site_id uuid NOT NULL
);
CREATE TABLE public.analytics_subscription (
    created_at timestamp with time zone NOT NULL,
    id uuid NOT NULL,
    last date NOT NULL,
    site_id uuid NOT NULL,
    user_id uuid NOT NULL
);
CREATE TABLE public.analytics_term (
    CONSTRAINT analytics_term_sort_check CHECK ((sort >= 0)),
    id integer NOT NULL,
    since date NOT NULL,
    site_number integer NOT NULL,
    sort smallint NOT NULL,
    text character varying(500) NOT NULL
);
CREATE TABLE public.audit_checkpoint (
    document text NOT NULL,
    number bigint NOT NULL,
    stored_at timestamp with time zone
);
CREATE TABLE public.audit_entry (
    CONSTRAINT audit_entry_actor_kind_check CHECK ((actor_kind = ANY (ARRAY['user'::text, 'key'::text, 'staff'::text, 'system'::text, 'anonymous'::text]))),
    actor_id uuid,
    actor_kind text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    event text NOT NULL,
    facts text NOT NULL,
    id uuid NOT NULL,
    owner_id uuid,
    personal text NOT NULL,
    request_id text NOT NULL,
    session_id uuid,
    site_id uuid,
    subject_id uuid,
    subject_type text NOT NULL
)
PARTITION BY RANGE (id);
CREATE TABLE public.audit_logline (
    created_at timestamp with time zone NOT NULL,
    id uuid NOT NULL,
    level character varying(10) NOT NULL,
    logger character varying(100) NOT NULL,
    message text NOT NULL,
    request_id character varying(64) NOT NULL
);
CREATE TABLE public.audit_pending (
    entry_id uuid NOT NULL,
    since timestamp with time zone NOT NULL
);
CREATE TABLE public.audit_personal (
    entry_id uuid NOT NULL,
    field character varying(40) NOT NULL,
    salt bytea NOT NULL,
    value text NOT NULL
);
CREATE TABLE public.audit_seal (
    CONSTRAINT audit_seal_digest_check CHECK ((octet_length(digest) = 32)),
    CONSTRAINT audit_seal_leaf_check CHECK ((octet_length(leaf) = 32)),
    CONSTRAINT audit_seal_number_check CHECK ((number > 0)),
    digest bytea NOT NULL,
    entry_id uuid NOT NULL,
    leaf bytea NOT NULL,
    number bigint NOT NULL
);
CREATE TABLE public.audit_stub (
    created_at timestamp with time zone NOT NULL,
    document text NOT NULL,
    partition character varying(40) NOT NULL
);
CREATE TABLE public.auth_group (
    id integer NOT NULL,
    name character varying(150) NOT NULL
);
CREATE TABLE public.auth_group_permissions (
    group_id integer NOT NULL,
    id bigint NOT NULL,
    permission_id integer NOT NULL
);
CREATE TABLE public.auth_permission (
    codename character varying(100) NOT NULL,
    content_type_id integer NOT NULL,
    id integer NOT NULL,
    name character varying(255) NOT NULL
);
CREATE TABLE public.backups_backuprun (
    "full" boolean NOT NULL,
    CONSTRAINT backup_run_done CHECK (((NOT ((status)::text = 'done'::text)) OR ((NOT (taken_at IS NULL)) AND (NOT ((name)::text = ''::text))))),
    CONSTRAINT backups_backuprun_attempts_check CHECK ((attempts >= 0)),
    CONSTRAINT backups_backuprun_chain_check CHECK ((chain >= 0)),
    attempts smallint NOT NULL,
    chain integer NOT NULL,
    created_at timestamp with time zone NOT NULL,
    due_at timestamp with time zone NOT NULL,
    error character varying(500) NOT NULL,
    finished_at timestamp with time zone,
    id uuid NOT NULL,
    kind character varying(10) NOT NULL,
    name character varying(100) NOT NULL,
    provable boolean NOT NULL,
    proven_at timestamp with time zone,
    pruned_at timestamp with time zone,
    read_bytes bigint NOT NULL,
    requested_by_owner boolean NOT NULL,
    rows bigint NOT NULL,
    seconds double precision NOT NULL,
    shipped_bytes bigint NOT NULL,
    started_at timestamp with time zone,
    status character varying(10) NOT NULL,
    stored_bytes bigint NOT NULL,
    taken_at timestamp with time zone,
    verified_at timestamp with time zone,
    waited_seconds double precision NOT NULL,
    warning text NOT NULL
);
CREATE TABLE public.backups_backupstate (
    CONSTRAINT backup_state_one CHECK ((id = 1)),
    id smallint NOT NULL,
    id_key bytea NOT NULL,
    manifest bytea,
    pending bytea
);
CREATE TABLE public.backups_check (
    CONSTRAINT backups_check_attempts_check CHECK ((attempts >= 0)),
    attempts smallint NOT NULL,
    created_at timestamp with time zone NOT NULL,
    due_at timestamp with time zone NOT NULL,
    error character varying(500) NOT NULL,
    finished_at timestamp with time zone,
    id uuid NOT NULL,
    kind character varying(10) NOT NULL,
    result text NOT NULL,
    run_id uuid NOT NULL,
    started_at timestamp with time zone,
    status character varying(10) NOT NULL
);
CREATE TABLE public.backups_siterestore (
    CONSTRAINT backups_siterestore_attempts_check CHECK ((attempts >= 0)),
    attempts smallint NOT NULL,
    created_at timestamp with time zone NOT NULL,
    due_at timestamp with time zone NOT NULL,
    error character varying(500) NOT NULL,
    finished_at timestamp with time zone,
    id uuid NOT NULL,
    made_id uuid,
    run_id uuid NOT NULL,
    site_id uuid NOT NULL,
    started_at timestamp with time zone,
    status character varying(10) NOT NULL
);
CREATE TABLE public.backups_tombstone (
    erased_at timestamp with time zone NOT NULL,
    mirrored_at timestamp with time zone,
    person uuid NOT NULL
);
CREATE TABLE public.core_idempotentresponse (
    body_digest character varying(64) NOT NULL,
    created_at timestamp with time zone NOT NULL,
    id uuid NOT NULL,
    key_digest character varying(64) NOT NULL,
    principal uuid NOT NULL,
    response bytea,
    route character varying(64) NOT NULL,
    salt bytea NOT NULL
);
CREATE TABLE public.core_mail (
    "to" character varying(254) NOT NULL,
    CONSTRAINT core_mail_attempts_check CHECK ((attempts >= 0)),
    attempts smallint NOT NULL,
    context bytea NOT NULL,
    created_at timestamp with time zone NOT NULL,
    due_at timestamp with time zone NOT NULL,
    error character varying(200) NOT NULL,
    id uuid NOT NULL,
    person uuid,
    sent_at timestamp with time zone,
    status character varying(10) NOT NULL,
    template character varying(60) NOT NULL,
    until timestamp with time zone
);
CREATE TABLE public.core_periodicslot (
    job character varying(100) NOT NULL,
    slot timestamp with time zone NOT NULL
);
CREATE TABLE public.core_storageusage (
    owner_id uuid NOT NULL,
    parts jsonb NOT NULL,
    used bigint NOT NULL
);
CREATE TABLE public.django_admin_log (
    CONSTRAINT django_admin_log_action_flag_check CHECK ((action_flag >= 0)),
    action_flag smallint NOT NULL,
    action_time timestamp with time zone NOT NULL,
    change_message text NOT NULL,
    content_type_id integer,
    id integer NOT NULL,
    object_id text,
    object_repr character varying(200) NOT NULL,
    user_id uuid NOT NULL
);
CREATE TABLE public.django_content_type (
    app_label character varying(100) NOT NULL,
    id integer NOT NULL,
    model character varying(100) NOT NULL
);
CREATE TABLE public.django_migrations (
    app character varying(255) NOT NULL,
    applied timestamp with time zone NOT NULL,
    id bigint NOT NULL,
    name character varying(255) NOT NULL
);
CREATE TABLE public.django_session (
    expire_date timestamp with time zone NOT NULL,
    session_data text NOT NULL,
    session_key character varying(40) NOT NULL
);
CREATE TABLE public.sites_access (
    created_at timestamp with time zone NOT NULL,
    id bigint NOT NULL,
    role character varying(10) NOT NULL,
    role_since timestamp with time zone NOT NULL,
    site_id uuid NOT NULL,
    user_id uuid NOT NULL
);
CREATE TABLE public.sites_announcement (
    CONSTRAINT sites_announcement_attempts_check CHECK ((attempts >= 0)),
    attempts smallint NOT NULL,
    created_at timestamp with time zone NOT NULL,
    due_at timestamp with time zone NOT NULL,
    error character varying(200) NOT NULL,
    host character varying(253) NOT NULL,
    id uuid NOT NULL,
    site_id uuid NOT NULL,
    status character varying(10) NOT NULL
);
CREATE TABLE public.sites_draft (
    CONSTRAINT sites_draft_version_check CHECK ((version >= 0)),
    author_id uuid,
    blueprint jsonb NOT NULL,
    site_id uuid NOT NULL,
    size integer GENERATED ALWAYS AS (octet_length((blueprint)::text)) STORED,
    updated_at timestamp with time zone NOT NULL,
    version integer NOT NULL
);
CREATE TABLE public.sites_formerslug (
    id bigint NOT NULL,
    post_id uuid NOT NULL,
    released_at timestamp with time zone NOT NULL,
    site_id uuid NOT NULL,
    slug character varying(100) NOT NULL
);
CREATE TABLE public.sites_invitation (
    author_id uuid,
    created_at timestamp with time zone NOT NULL,
    email character varying(254) NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    id uuid NOT NULL,
    role character varying(10) NOT NULL,
    site_id uuid NOT NULL,
    used_at timestamp with time zone
);
CREATE TABLE public.sites_post (
    CONSTRAINT post_live CHECK (((NOT live) OR (NOT (published_at IS NULL)))),
    CONSTRAINT sites_post_version_check CHECK ((version >= 0)),
    author_id uuid,
    blocks jsonb NOT NULL,
    created_at timestamp with time zone NOT NULL,
    deleted_at timestamp with time zone,
    excerpt character varying(500) NOT NULL,
    id uuid NOT NULL,
    live boolean NOT NULL,
    published_at timestamp with time zone,
    site_id uuid NOT NULL,
    size integer GENERATED ALWAYS AS (((octet_length((title)::text) + octet_length((excerpt)::text)) + octet_length((blocks)::text))) STORED,
    slug character varying(100) NOT NULL,
    tags character varying(40)[] NOT NULL,
    title character varying(200) NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    version integer NOT NULL
);
CREATE TABLE public.sites_preview (
    author_id uuid NOT NULL,
    created_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    id uuid NOT NULL,
    post_id uuid,
    revision_id uuid,
    site_id uuid NOT NULL
);
CREATE TABLE public.sites_release (
    CONSTRAINT sites_release_number_check CHECK ((number >= 0)),
    author_id uuid,
    blueprint jsonb NOT NULL,
    created_at timestamp with time zone NOT NULL,
    id uuid NOT NULL,
    note character varying(500) NOT NULL,
    number integer NOT NULL,
    site_id uuid NOT NULL,
    size integer GENERATED ALWAYS AS (octet_length((blueprint)::text)) STORED
);
CREATE TABLE public.sites_review (
    answered_at timestamp with time zone,
    author_id uuid,
    comment character varying(2000) NOT NULL,
    created_at timestamp with time zone NOT NULL,
    editor_id uuid,
    id uuid NOT NULL,
    note character varying(500) NOT NULL,
    revision_id uuid,
    site_id uuid NOT NULL,
    status character varying(10) NOT NULL
);
CREATE TABLE public.sites_revision (
    CONSTRAINT sites_revision_size_check CHECK ((size >= 0)),
    CONSTRAINT sites_revision_version_check CHECK ((version >= 0)),
    author_id uuid,
    blueprint jsonb NOT NULL,
    created_at timestamp with time zone NOT NULL,
    id uuid NOT NULL,
    site_id uuid NOT NULL,
    size integer NOT NULL,
    version integer NOT NULL
);
CREATE TABLE public.sites_schedule (
    CASE,
    CASE,
    CONSTRAINT schedule_revision CHECK (((((act)::text = 'unpublish'::text) OR (NOT (revision_id IS NULL))) AND (1 = (,
    CONSTRAINT sites_schedule_attempts_check CHECK ((attempts >= 0)),
    ELSE 0,
    ELSE 0,
    END +,
    END)))),
    WHEN ((act)::text = 'unpublish'::text) THEN 1,
    WHEN (NOT (revision_id IS NULL)) THEN 1,
    act character varying(10) NOT NULL,
    at timestamp with time zone NOT NULL,
    attempts smallint NOT NULL,
    author_id uuid,
    created_at timestamp with time zone NOT NULL,
    due_at timestamp with time zone NOT NULL,
    error character varying(200) NOT NULL,
    id uuid NOT NULL,
    note character varying(500) NOT NULL,
    refused character varying(40) NOT NULL,
    revision_id uuid,
    site_id uuid NOT NULL,
    status character varying(10) NOT NULL
);
CREATE TABLE public.sites_site (
    CONSTRAINT site_live CHECK (((NOT ((status)::text = 'live'::text)) OR (NOT (live_release_id IS NULL)))),
    CONSTRAINT site_subdomain CHECK (((subdomain)::text ~ '^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$'::text)),
    CONSTRAINT sites_site_next_release_check CHECK ((next_release >= 0)),
    CONSTRAINT sites_site_posts_version_check CHECK ((posts_version >= 0)),
    CONSTRAINT sites_site_version_check CHECK ((version >= 0)),
    created_at timestamp with time zone NOT NULL,
    deleted_at timestamp with time zone,
    id uuid NOT NULL,
    live_release_id uuid,
    name character varying(120) NOT NULL,
    next_release integer NOT NULL,
    number integer DEFAULT nextval('public.sites_number'::regclass) NOT NULL,
    owner_id uuid NOT NULL,
    posts_version integer NOT NULL,
    status character varying(10) NOT NULL,
    subdomain character varying(63) NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    version integer NOT NULL
);
CREATE TABLE public.sites_subdomainreservation (
    digest character varying(64) NOT NULL,
    id bigint NOT NULL,
    owner_id uuid NOT NULL,
    released_at timestamp with time zone NOT NULL,
    site_id uuid NOT NULL
);
CREATE TABLE public.vault_formerversion (
    CONSTRAINT vault_former_sizes CHECK ((((length(ciphertext) >= 16) AND (length(ciphertext) <= 1048576)) AND ((length(salt) >= 16) AND (length(salt) <= 64)) AND ((length(iv) >= 12) AND (length(iv) <= 12)) AND ((alg)::text = 'A256GCM'::text))),
    CONSTRAINT vault_formerversion_version_check CHECK ((version >= 0)),
    alg character varying(20) NOT NULL,
    ciphertext bytea NOT NULL,
    created_at timestamp with time zone NOT NULL,
    id bigint NOT NULL,
    item_id uuid NOT NULL,
    iv bytea NOT NULL,
    owner_id uuid NOT NULL,
    salt bytea NOT NULL,
    version integer NOT NULL
);
CREATE TABLE public.vault_holder (
    CONSTRAINT vault_holder_items_check CHECK ((items >= 0)),
    items integer NOT NULL,
    owner_id uuid NOT NULL,
    sequence bigint NOT NULL,
    size bigint NOT NULL
);
CREATE TABLE public.vault_item (
    CONSTRAINT vault_item_sizes CHECK ((((length(ciphertext) >= 0) AND (length(ciphertext) <= 1048576)) AND ((length(salt) >= 16) AND (length(salt) <= 64)) AND ((length(iv) >= 12) AND (length(iv) <= 12)) AND ((alg)::text = 'A256GCM'::text))),
    CONSTRAINT vault_item_tombstone CHECK (((purged_at IS NULL) OR ((ciphertext = '\x'::bytea) AND (NOT (deleted_at IS NULL))))),
    CONSTRAINT vault_item_version_check CHECK ((version >= 0)),
    alg character varying(20) NOT NULL,
    ciphertext bytea NOT NULL,
    created_at timestamp with time zone NOT NULL,
    deleted_at timestamp with time zone,
    id uuid NOT NULL,
    item_id uuid NOT NULL,
    iv bytea NOT NULL,
    owner_id uuid NOT NULL,
    purged_at timestamp with time zone,
    salt bytea NOT NULL,
    sequence bigint NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    vault_id uuid NOT NULL,
    version integer NOT NULL
);
CREATE TABLE public.vault_vault (
    CONSTRAINT vault_sizes CHECK ((((length(ciphertext) >= 16) AND (length(ciphertext) <= 16384)) AND ((length(salt) >= 16) AND (length(salt) <= 64)) AND ((length(iv) >= 12) AND (length(iv) <= 12)) AND ((alg)::text = 'A256GCM'::text))),
    CONSTRAINT vault_vault_version_check CHECK ((version >= 0)),
    alg character varying(20) NOT NULL,
    ciphertext bytea NOT NULL,
    created_at timestamp with time zone NOT NULL,
    deleted_at timestamp with time zone,
    id uuid NOT NULL,
    iv bytea NOT NULL,
    owner_id uuid NOT NULL,
    salt bytea NOT NULL,
    sequence bigint NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    vault_id uuid NOT NULL,
    version integer NOT NULL,
    weight bigint NOT NULL
);
CREATE TRIGGER count_bytes AFTER INSERT OR DELETE OR UPDATE OF size ON public.vault_holder FOR EACH ROW EXECUTE FUNCTION public.vault_count_bytes();
CREATE TRIGGER count_deleted_bytes AFTER DELETE ON public.sites_draft REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION public.sites_count_bytes('drafts');
CREATE TRIGGER count_deleted_bytes AFTER DELETE ON public.sites_post REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION public.sites_count_bytes('posts');
CREATE TRIGGER count_deleted_bytes AFTER DELETE ON public.sites_release REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION public.sites_count_bytes('releases');
CREATE TRIGGER count_deleted_bytes AFTER DELETE ON public.sites_revision REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION public.sites_count_bytes('revisions');
CREATE TRIGGER count_inserted_bytes AFTER INSERT ON public.sites_draft REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION public.sites_count_bytes('drafts');
CREATE TRIGGER count_inserted_bytes AFTER INSERT ON public.sites_post REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION public.sites_count_bytes('posts');
CREATE TRIGGER count_inserted_bytes AFTER INSERT ON public.sites_release REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION public.sites_count_bytes('releases');
CREATE TRIGGER count_inserted_bytes AFTER INSERT ON public.sites_revision REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION public.sites_count_bytes('revisions');
CREATE TRIGGER count_updated_bytes AFTER UPDATE ON public.sites_draft FOR EACH ROW WHEN ((old.size <> new.size)) EXECUTE FUNCTION public.sites_count_bytes('drafts');
CREATE TRIGGER count_updated_bytes AFTER UPDATE ON public.sites_post FOR EACH ROW WHEN ((old.size <> new.size)) EXECUTE FUNCTION public.sites_count_bytes('posts');
CREATE TRIGGER move_bytes AFTER UPDATE OF owner_id ON public.sites_site FOR EACH ROW WHEN ((old.owner_id IS DISTINCT FROM new.owner_id)) EXECUTE FUNCTION public.sites_move_bytes();
CREATE TRIGGER refuse_change BEFORE DELETE OR UPDATE ON public.audit_entry FOR EACH ROW EXECUTE FUNCTION public.audit_refuse();
CREATE TRIGGER refuse_change BEFORE DELETE OR UPDATE ON public.audit_seal FOR EACH ROW EXECUTE FUNCTION public.audit_refuse();
CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON public.audit_entry FOR EACH STATEMENT EXECUTE FUNCTION public.audit_refuse();
CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON public.audit_seal FOR EACH STATEMENT EXECUTE FUNCTION public.audit_refuse();
CREATE TRIGGER refuse_update BEFORE UPDATE ON public.audit_personal FOR EACH ROW EXECUTE FUNCTION public.audit_refuse();
CREATE TRIGGER release_is_final BEFORE UPDATE ON public.sites_release FOR EACH ROW EXECUTE FUNCTION public.sites_release_is_final();
CREATE TRIGGER revision_is_final BEFORE UPDATE ON public.sites_revision FOR EACH ROW EXECUTE FUNCTION public.sites_revision_is_final();
CREATE UNIQUE INDEX access_once ON public.sites_access USING btree (user_id, site_id);
CREATE UNIQUE INDEX access_one_owner ON public.sites_access USING btree (site_id) WHERE ((role)::text = 'owner'::text);
CREATE UNIQUE INDEX analytics_term_once ON public.analytics_term USING btree (site_number, sort, text);
CREATE UNIQUE INDEX check_open_once ON public.backups_check USING btree (run_id, kind) WHERE ((status)::text = ANY ((ARRAY['queued'::character varying, 'running'::character varying])::text[]));
CREATE UNIQUE INDEX definition_once ON public.analytics_definition USING btree (site_id, kind, name);
CREATE UNIQUE INDEX former_slug_once ON public.sites_formerslug USING btree (site_id, slug);
CREATE UNIQUE INDEX idempotent_response_once ON public.core_idempotentresponse USING btree (principal, key_digest, route);
CREATE UNIQUE INDEX identity_once ON public.accounts_identity USING btree (issuer, subject);
CREATE UNIQUE INDEX invitation_open_once ON public.sites_invitation USING btree (site_id, email) WHERE (used_at IS NULL);
CREATE UNIQUE INDEX post_slug ON public.sites_post USING btree (site_id, slug);
CREATE UNIQUE INDEX recovery_code_once ON public.accounts_recoverycode USING btree (user_id, digest);
CREATE UNIQUE INDEX release_number ON public.sites_release USING btree (site_id, number);
CREATE UNIQUE INDEX review_open_once ON public.sites_review USING btree (site_id) WHERE ((status)::text = 'open'::text);
CREATE UNIQUE INDEX revision_version ON public.sites_revision USING btree (site_id, version);
CREATE UNIQUE INDEX site_restore_open_once ON public.backups_siterestore USING btree (site_id) WHERE ((status)::text = ANY ((ARRAY['queued'::character varying, 'running'::character varying])::text[]));
CREATE UNIQUE INDEX subscription_once ON public.analytics_subscription USING btree (user_id, site_id);
CREATE UNIQUE INDEX vault_former_once ON public.vault_formerversion USING btree (item_id, version);
CREATE UNIQUE INDEX vault_item_once ON public.vault_item USING btree (vault_id, item_id);
CREATE UNIQUE INDEX vault_once ON public.vault_vault USING btree (owner_id, vault_id);
CREATE UNLOGGED TABLE public.analytics_salt (
    day date NOT NULL,
    dies_at timestamp with time zone NOT NULL,
    salt bytea NOT NULL,
    site_number integer NOT NULL
);
ELSE PERFORM core_add_storage_usage(NEW.owner_id, 'vault', NEW.size - OLD.size);
ELSE changed_sites := ARRAY[NEW.site_id];
ELSIF TG_OP = 'DELETE' THEN SELECT array_agg(site_id), array_agg(bytes) INTO changed_sites, added_bytes FROM (SELECT site_id, -sum(size) AS bytes FROM old_rows GROUP BY site_id) c;
ELSIF TG_OP = 'INSERT' THEN PERFORM core_add_storage_usage(NEW.owner_id, 'vault', NEW.size);
ELSIF added < 0 THEN UPDATE core_storageusage AS stored SET used = stored.used + added, parts = stored.parts || jsonb_build_object(changed_kind, coalesce((stored.parts ->> changed_kind)::bigint, 0) + added) WHERE stored.owner_id = changed_owner;
END $$;
END $$;
END $$;
END $$;
END $$;
END $$;
END $$;
END $$;
END IF;
END IF;
END IF;
END IF;
END IF;
END IF;
END IF;
END LOOP;
END LOOP;
END LOOP;
EXIT WHEN owners = ARRAY(SELECT DISTINCT owner_id FROM sites_site WHERE id = ANY (changed_sites) ORDER BY 1);
FOR change IN SELECT s.owner_id, sum(c.bytes)::bigint AS bytes FROM unnest(changed_sites, added_bytes) AS c (site_id, bytes) JOIN sites_site s ON s.id = c.site_id GROUP BY s.owner_id ORDER BY s.owner_id LOOP PERFORM core_add_storage_usage(change.owner_id, TG_ARGV[0], change.bytes);
FOR part IN SELECT kind, bytes FROM sites_bytes_of_site(NEW.id) LOOP PERFORM core_add_storage_usage(OLD.owner_id, part.kind, -part.bytes);
IF cardinality(new_fields) > 0 THEN INSERT INTO audit_personal (entry_id, field, value, salt) SELECT new_id, * FROM unnest(new_fields, new_values, new_salts);
IF changed_sites IS NULL THEN RETURN NULL;
INSERT INTO audit_pending (entry_id, since) VALUES (new_id, new_created_at);
PERFORM FROM core_storageusage WHERE owner_id = ANY (owners) ORDER BY owner_id FOR NO KEY UPDATE;
PERFORM core_add_storage_usage(NEW.owner_id, part.kind, part.bytes);
RETURN NEW;
RETURN NEW;
RETURN NULL;
RETURN NULL;
RETURN NULL;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET client_encoding = 'UTF8';
SET client_min_messages = warning;
SET default_table_access_method = heap;
SET default_tablespace = '';
SET idle_in_transaction_session_timeout = 0;
SET lock_timeout = 0;
SET row_security = off;
SET standard_conforming_strings = on;
SET statement_timeout = 0;
SET transaction_timeout = 0;
SET xmloption = content;
added_bytes := ARRAY[NEW.size - OLD.size];
added_bytes bigint[];
change record;
owners uuid[];
