//! `tlv_struct!`: a struct and its one encoding, written once.

/// Declares a struct whose fields carry TLV types, and gives it `to_tlv`, `from_tlv` and [`TlvField`](super::TlvField)
/// (so that one message nests in another). `Option<T>` fields may be absent. Types must strictly increase, or it does
/// not compile. `Clone`, `Debug`, `PartialEq` and `Eq` are derived; add others above it. With
/// `keeping { pub unknown }` after its name the struct has a field of that name with the records of unknown odd types;
/// without it they are refused as even ones are.
///
/// ```
/// use hypothec::loan::units::{Cents, Time};
/// hypothec::tlv_struct! {
///     /// What the lender says.
///     #[derive(Hash)]
///     pub struct Quote {
///         /// What is lent.
///         0 => pub principal: Cents,
///         /// Until when it stands, if not for ever.
///         2 => pub expires: Option<Time>,
///     }
/// }
/// let quote = Quote { principal: Cents(5_000_000), expires: None };
/// assert_eq!(Quote::from_tlv(&quote.to_tlv()), Ok(quote));
/// ```
#[macro_export]
macro_rules! tlv_struct {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident {
            $( $(#[$field_meta:meta])* $kind:literal => $field_vis:vis $field:ident : $type:ty ),* $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        $vis struct $name {
            $( $(#[$field_meta])* $field_vis $field: $type, )*
        }

        $crate::tlv_struct! { @codec $name [$( $kind )*] }

        impl $name {
            /// The one encoding of this message.
            $vis fn to_tlv(&self) -> Vec<u8> {
                #[allow(unused_mut)]
                let mut writer = $crate::loan::tlv::Writer::new();
                $( writer.field($kind, &self.$field); )*
                writer.finish()
            }

            /// The message of exactly these bytes; the error names the field.
            $vis fn from_tlv(bytes: &[u8]) -> Result<Self, $crate::loan::tlv::TlvError> {
                #[allow(unused_mut)]
                let mut reader = $crate::loan::tlv::Reader::new(stringify!($name), bytes);
                let message = $name {
                    $( $field: reader.field($kind, stringify!($field))?, )*
                };
                reader.finish()?;
                Ok(message)
            }
        }
    };
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident keeping { $(#[$odd_meta:meta])* $odd_vis:vis $odd:ident } {
            $( $(#[$field_meta:meta])* $kind:literal => $field_vis:vis $field:ident : $type:ty ),* $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        $vis struct $name {
            $( $(#[$field_meta])* $field_vis $field: $type, )*
            $(#[$odd_meta])* $odd_vis $odd: $crate::loan::tlv::Unknown,
        }

        $crate::tlv_struct! { @codec $name [$( $kind )*] }

        impl $name {
            /// The one encoding of this message.
            $vis fn to_tlv(&self) -> Vec<u8> {
                let mut writer = $crate::loan::tlv::Writer::with_unknown(&self.$odd);
                $( writer.field($kind, &self.$field); )*
                writer.finish()
            }

            /// The message of exactly these bytes; the error names the field.
            $vis fn from_tlv(bytes: &[u8]) -> Result<Self, $crate::loan::tlv::TlvError> {
                let mut reader = $crate::loan::tlv::Reader::keeping_odd(stringify!($name), bytes);
                $( let $field = reader.field($kind, stringify!($field))?; )*
                Ok($name { $( $field, )* $odd: reader.finish_with_unknown()? })
            }
        }
    };
    (@codec $name:ident [$( $kind:literal )*]) => {
        const _: () = assert!(
            $crate::loan::tlv::strictly_increasing(&[$($kind),*]),
            "TLV types must strictly increase"
        );

        impl $crate::loan::tlv::TlvField for $name {
            fn write(&self, out: &mut Vec<u8>) {
                out.append(&mut self.to_tlv());
            }

            fn read(bytes: &[u8]) -> Result<Self, $crate::loan::tlv::TlvReason> {
                $name::from_tlv(bytes).map_err(|error| $crate::loan::tlv::TlvReason::Invalid(error.to_string()))
            }
        }
    };
}
